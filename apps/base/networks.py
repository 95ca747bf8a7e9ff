"""What networks of several applications are made of: recurrent layers, checks of sizes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Cell = Literal["gru", "lstm", "rnn"]
CELLS: dict[Cell, type[nn.GRU] | type[nn.LSTM] | type[nn.RNN]] = {
    "gru": nn.GRU,
    "lstm": nn.LSTM,
    "rnn": nn.RNN,
}


def check_cell(cell: str) -> Cell:
    """Return a kind of recurrent cell; raise ValueError if it is none."""
    if cell not in CELLS:
        raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {cell!r}")
    return cell


def check_sizes(hidden_size: int, num_layers: int, dropout: float) -> None:
    """Raise ValueError for sizes below 1 or a dropout that is no share."""
    if hidden_size < 1:
        raise ValueError(f"hidden_size must be >= 1, got {hidden_size}")
    if num_layers < 1:
        raise ValueError(f"num_layers must be >= 1, got {num_layers}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be a share in [0, 1), got {dropout}")


class RecurrentLayer(nn.Module):
    """A recurrent layer over padded sequences, (B, T, D) to (B, T, ways * hidden_size).

    The backward cell reads every sequence turned around within its own length: the result of
    packed sequences, on CPU several times as fast, since packing leaves the fused kernel.
    """

    def __init__(self, cell: Cell, size: int, hidden_size: int, bidirectional: bool) -> None:
        super().__init__()
        self.ways = nn.ModuleList(
            CELLS[check_cell(cell)](size, hidden_size, batch_first=True)
            for _ in range(1 + bidirectional)
        )

    def forward(self, sequences: Tensor, lengths: Tensor) -> Tensor:
        """States (B, T, ways * hidden_size); those after a sequence's end mean nothing."""
        states = [self.ways[0](sequences)[0]]
        if len(self.ways) == 2:
            states.append(turned(self.ways[1](turned(sequences, lengths))[0], lengths))
        return torch.cat(states, dim=-1)


def turned(sequences: Tensor, lengths: Tensor) -> Tensor:
    """Sequences (B, T, D), each turned around within its own length; what follows stays."""
    count, length, _ = sequences.shape
    places = torch.arange(length, device=sequences.device)
    back = lengths.to(sequences.device)[:, None] - 1 - places
    index = torch.where(back >= 0, back, places)
    rows = index + length * torch.arange(count, device=sequences.device)[:, None]
    # Whole rows at once: a gather of elements, and above all its gradient, is far slower.
    return sequences.flatten(0, 1).index_select(0, rows.flatten()).view_as(sequences)
