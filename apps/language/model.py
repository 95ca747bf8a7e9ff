"""Networks that give the scores of the next character from those before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from apps.base.networks import check_sizes


class Transformer(nn.Module):
    """A causal Transformer, normalised before attention and before the perceptron of each layer.

    Positions are angles by which queries and keys are turned (Su et al. 2021, arXiv:2104.09864), so
    that it reads any length.
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
        if num_heads < 1 or hidden_size % (2 * num_heads):
            raise ValueError(
                f"hidden_size must be a multiple of 2 * num_heads, num_heads >= 1, got "
                f"hidden_size={hidden_size}, num_heads={num_heads}"
            )
        self.embedding = nn.Embedding(num_characters, hidden_size)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.layers = nn.ModuleList(
            Layer(hidden_size, num_heads, dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_size)
        self.head = nn.Linear(hidden_size, num_characters)

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores (B, L, V) of the characters that follow those of inputs (B, L), int64."""
        states = self.embedding(inputs)
        for layer in self.layers:
            states = layer(states)
        scores: Tensor = self.head(self.norm(states))
        return scores


class Layer(nn.Module):
    """Attention to the characters so far and a perceptron, each added to what it reads."""

    def __init__(self, size: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.before_attention = nn.LayerNorm(size)
        self.query_key_value = nn.Linear(size, 3 * size)
        self.out = nn.Linear(size, size)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(size), nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        """States (B, L, size) to states of the same shape."""
        read = self.query_key_value(self.before_attention(states))
        query, key, value = read.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        heads = scaled_dot_product_attention(turned(query), turned(key), value, is_causal=True)
        states = states + self.dropout(self.out(heads.transpose(1, 2).flatten(2)))
        more: Tensor = self.dropout(self.perceptron(states))
        return states + more


def turned(vectors: Tensor) -> Tensor:
    """Vectors (..., L, D) turned in D / 2 planes, each by an angle that grows with its place.

    The product of two of them depends on how far apart they stand, and not on where.
    """
    length, size = vectors.shape[-2:]
    rates = 10_000.0 ** (-torch.arange(size // 2, device=vectors.device) / (size // 2))
    angles = torch.arange(length, device=vectors.device)[:, None] * rates
    cosines, sines = angles.cos().to(vectors), angles.sin().to(vectors)
    one, other = vectors.chunk(2, dim=-1)
    return torch.cat([one * cosines - other * sines, one * sines + other * cosines], dim=-1)


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
