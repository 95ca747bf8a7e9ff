"""Networks that give the scores of the next character from those before it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from apps.base.networks import check_sizes


class Transformer(nn.Module):
    """A causal Transformer, layers normalised before attention and before the perceptron.

    Positions are sines and cosines (Vaswani et al. 2017, arXiv:1706.03762, section 3.5), so that
    it reads any length.
    """

    def __init__(
        self,
        num_characters: int,
        hidden_size: int = 64,
        num_layers: int = 2,
        num_heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_sizes(hidden_size, num_layers, dropout)
        if num_heads < 1 or hidden_size % num_heads:
            raise ValueError(
                f"hidden_size={hidden_size} must be a multiple of num_heads={num_heads}, >= 1"
            )
        if hidden_size % 2:
            raise ValueError(f"hidden_size must be even, got {hidden_size}")
        self.embedding = nn.Embedding(num_characters, hidden_size)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                hidden_size,
                num_heads,
                4 * hidden_size,
                dropout,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_size)
        self.head = nn.Linear(hidden_size, num_characters)

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores (B, L, V) of the characters that follow those of inputs (B, L), int64."""
        states = self.embedding(inputs)
        length, size = states.shape[1:]
        states = states + _positions(length, size).to(states)
        mask = nn.Transformer.generate_square_subsequent_mask(
            length, device=states.device, dtype=states.dtype
        )
        for layer in self.layers:
            states = layer(states, src_mask=mask, is_causal=True)
        scores: Tensor = self.head(self.norm(states))
        return scores


def _positions(length: int, size: int) -> Tensor:
    """The positions' vectors (L, D), scaled as the embedding's."""
    places = torch.arange(length)[:, None]
    rates = torch.exp(torch.arange(0, size, 2) * (-math.log(10_000.0) / size))
    angles = places * rates
    return 0.1 * torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


class LSTM(nn.Module):
    """Layers of long short-term memory."""

    def __init__(
        self,
        num_characters: int,
        hidden_size: int = 128,
        num_layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_sizes(hidden_size, num_layers, dropout)
        self.embedding = nn.Embedding(num_characters, hidden_size)
        self.lstm = nn.LSTM(hidden_size, hidden_size, num_layers, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, num_characters)

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores (B, L, V) of the characters that follow those of inputs (B, L), int64."""
        states, _ = self.lstm(self.embedding(inputs))
        scores: Tensor = self.head(self.dropout(states))
        return scores
