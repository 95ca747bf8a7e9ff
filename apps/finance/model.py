"""Networks that read a window of features (B, L, F) and give raw outputs (B, N) of a head."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from apps.base.networks import CELLS, check_cell, check_sizes

Cell = Literal["gru", "lstm", "rnn"]


class _Readout(nn.Module):
    """A linear layer that starts at zero, plus a linear function of the last day's features.

    The skip makes a regression of log variance on its own averages a special case, as in the
    heterogeneous autoregression (Corsi 2009). It acts on the first output alone.
    """

    def __init__(self, size: int, num_features: int, num_outputs: int, skip: bool) -> None:
        super().__init__()
        self.output = nn.Linear(size, num_outputs)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        self.skip = nn.Linear(num_features, 1, bias=False) if skip else None
        if self.skip is not None:
            nn.init.zeros_(self.skip.weight)

    def forward(self, hidden: Tensor, last: Tensor) -> Tensor:
        """Raw outputs (B, N) of hidden (B, size) and the last day's features (B, F)."""
        out: Tensor = self.output(hidden)
        if self.skip is None:
            return out
        return torch.cat([out[:, :1] + self.skip(last), out[:, 1:]], dim=1)


class RecurrentVolatility(nn.Module):
    """A recurrent network over the window, read out at its last day.

    cell: lstm, gru or rnn (tanh). hidden_size: width of the state. dropout: on the state that
    is read out, and between layers. skip: adds the linear function of the last day.
    """

    def __init__(
        self,
        num_features: int,
        lookback: int,
        num_outputs: int,
        cell: Cell = "lstm",
        hidden_size: int = 32,
        num_layers: int = 1,
        dropout: float = 0.2,
        skip: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(hidden_size, num_layers, dropout)
        between = dropout if num_layers > 1 else 0.0
        self.encoder = CELLS[check_cell(cell)](
            num_features, hidden_size, num_layers, batch_first=True, dropout=between
        )
        self.dropout = nn.Dropout(dropout)
        self.readout = _Readout(hidden_size, num_features, num_outputs, skip)

    def forward(self, window: Tensor) -> Tensor:
        """Raw outputs (B, num_outputs) of windows (B, L, F)."""
        states, _ = self.encoder(window)
        out: Tensor = self.readout(self.dropout(states[:, -1]), window[:, -1])
        return out


class MLPVolatility(nn.Module):
    """A dense network over the window as a whole: no recurrence.

    hidden_size: width of the hidden layers. dropout: after each of them.
    """

    def __init__(
        self,
        num_features: int,
        lookback: int,
        num_outputs: int,
        hidden_size: int = 64,
        num_layers: int = 2,
        dropout: float = 0.3,
        skip: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(hidden_size, num_layers, dropout)
        widths = [lookback * num_features, *([hidden_size] * num_layers)]
        self.body = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(a, b), nn.GELU(), nn.Dropout(dropout))
                for a, b in pairwise(widths)
            )
        )
        self.readout = _Readout(hidden_size, num_features, num_outputs, skip)

    def forward(self, window: Tensor) -> Tensor:
        """Raw outputs (B, num_outputs) of windows (B, L, F)."""
        out: Tensor = self.readout(self.body(window.flatten(1)), window[:, -1])
        return out
