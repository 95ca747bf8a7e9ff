"""Networks that read a text: word numbers (B, L), padded with 0, to outputs (B, K)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from apps.base.networks import Cell, RecurrentLayer
from apps.sentiment.layers import Pool, Pooling, WordEmbedding
from apps.sentiment.vocabulary import PADDING


class TextNetwork(nn.Module):
    """Embedding, an encoder of the word sequence, pooling and a linear output."""

    def __init__(
        self,
        embedding: WordEmbedding,
        encoder: nn.Module,
        pool: Pool,
        num_outputs: int,
        embedding_dropout: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.embedding_dropout = nn.Dropout(embedding_dropout)
        self.encoder = encoder
        self.pool = pool
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(pool.out_size, num_outputs)

    def forward(self, words: Tensor) -> Tensor:
        """Outputs (B, K) of texts (B, L); padding changes nothing."""
        present = words != PADDING
        states = self.encoder(self.embedding_dropout(self.embedding(words)), present)
        out: Tensor = self.output(self.dropout(self.pool(states, present)))
        return out


class BiRecurrent(nn.Module):
    """Recurrent layers in both directions; cell: gru, lstm or rnn (tanh)."""

    def __init__(self, cell: Cell, in_size: int, hidden_size: int, num_layers: int) -> None:
        super().__init__()
        sizes = [in_size] + [2 * hidden_size] * (num_layers - 1)
        self.layers = nn.ModuleList(
            RecurrentLayer(cell, size, hidden_size, bidirectional=True) for size in sizes
        )

    def forward(self, states: Tensor, present: Tensor) -> Tensor:
        """States (B, L, 2 hidden_size) of inputs (B, L, size)."""
        lengths = present.sum(dim=1)
        for layer in self.layers:
            states = layer(states, lengths)
        return states


class Recurrent(TextNetwork):
    """A bidirectional LSTM, GRU or tanh RNN."""

    def __init__(
        self,
        num_words: int,
        num_trained: int,
        vector_size: int,
        num_outputs: int,
        cell: Cell = "lstm",
        embedding_size: int = 64,
        hidden_size: int = 64,
        num_layers: int = 1,
        pooling: Pooling = "attention",
        word_dropout: float = 0.0,
        embedding_dropout: float = 0.3,
        dropout: float = 0.5,
    ) -> None:
        _check(embedding_size, hidden_size, num_layers, word_dropout, embedding_dropout, dropout)
        embedding = WordEmbedding(num_words, num_trained, vector_size, embedding_size, word_dropout)
        encoder = BiRecurrent(cell, embedding.size, hidden_size, num_layers)
        pool = Pool(2 * hidden_size, pooling)
        super().__init__(embedding, encoder, pool, num_outputs, embedding_dropout, dropout)


def _check(embedding_size: int, hidden_size: int, num_layers: int, *shares: float) -> None:
    if min(embedding_size, hidden_size, num_layers) < 1:
        raise ValueError(
            f"embedding_size={embedding_size}, hidden_size={hidden_size}, "
            f"num_layers={num_layers}: all must be >= 1"
        )
    if not all(0 <= share < 1 for share in shares):
        raise ValueError(f"dropout shares {shares} must be in [0, 1)")


class TransformerEncoder(nn.Module):
    """Sinusoidal positions and layers of self-attention, normalised first (Vaswani et al. 2017)."""

    def __init__(
        self, in_size: int, hidden_size: int, num_layers: int, num_heads: int, dropout: float
    ) -> None:
        super().__init__()
        if num_heads < 1 or hidden_size % num_heads or hidden_size % 2:
            raise ValueError(
                f"hidden_size={hidden_size} must be even and a multiple of num_heads={num_heads}"
            )
        self.projection = nn.Linear(in_size, hidden_size)
        layer = nn.TransformerEncoderLayer(
            hidden_size,
            num_heads,
            2 * hidden_size,
            dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(
            layer, num_layers, norm=nn.LayerNorm(hidden_size), enable_nested_tensor=False
        )

    def forward(self, states: Tensor, present: Tensor) -> Tensor:
        """States (B, L, hidden_size) of inputs (B, L, size)."""
        states = self.projection(states)
        # A text without words would have nothing to attend to, and NaN for an answer.
        absent = ~present & present.any(dim=1, keepdim=True)
        out: Tensor = self.layers(states + _positions(states), src_key_padding_mask=absent)
        return out


def _positions(states: Tensor) -> Tensor:
    """Sines and cosines of the positions, (L, size); Vaswani et al. 2017, section 3.5."""
    length, size = states.shape[1:]
    places = torch.arange(length, device=states.device)[:, None]
    rates = 10000.0 ** (-torch.arange(0, size, 2, device=states.device) / size)
    return torch.cat([torch.sin(places * rates), torch.cos(places * rates)], dim=-1)


class Transformer(TextNetwork):
    """A small Transformer encoder."""

    def __init__(
        self,
        num_words: int,
        num_trained: int,
        vector_size: int,
        num_outputs: int,
        embedding_size: int = 64,
        hidden_size: int = 64,
        num_layers: int = 1,
        num_heads: int = 4,
        pooling: Pooling = "attention",
        word_dropout: float = 0.0,
        embedding_dropout: float = 0.3,
        dropout: float = 0.3,
    ) -> None:
        _check(embedding_size, hidden_size, num_layers, word_dropout, embedding_dropout, dropout)
        embedding = WordEmbedding(num_words, num_trained, vector_size, embedding_size, word_dropout)
        encoder = TransformerEncoder(embedding.size, hidden_size, num_layers, num_heads, dropout)
        pool = Pool(hidden_size, pooling)
        super().__init__(embedding, encoder, pool, num_outputs, embedding_dropout, dropout)


class Convolutions(nn.Module):
    """Filters over windows of several widths, each followed by a ReLU."""

    def __init__(self, in_size: int, hidden_size: int, widths: Sequence[int]) -> None:
        super().__init__()
        if not widths or min(widths) < 1:
            raise ValueError(f"widths must be numbers of words >= 1, got {list(widths)}")
        self.widths = tuple(widths)
        self.filters = nn.ModuleList(nn.Conv1d(in_size, hidden_size, width) for width in widths)

    def forward(self, states: Tensor, present: Tensor) -> Tensor:
        """States (B, L, len(widths) hidden_size) of inputs (B, L, size), around each word."""
        inputs = (states * present.unsqueeze(-1)).transpose(1, 2)
        parts = []
        for width, windows in zip(self.widths, self.filters, strict=True):
            around = nn.functional.pad(inputs, ((width - 1) // 2, width // 2))
            parts.append(windows(around))
        return torch.cat(parts, dim=1).relu().transpose(1, 2)


class Convolutional(TextNetwork):
    """Convolutions over words with max pooling (Kim 2014, arXiv:1408.5882)."""

    def __init__(
        self,
        num_words: int,
        num_trained: int,
        vector_size: int,
        num_outputs: int,
        embedding_size: int = 64,
        hidden_size: int = 64,
        widths: list[int] | None = None,
        word_dropout: float = 0.0,
        embedding_dropout: float = 0.3,
        dropout: float = 0.5,
    ) -> None:
        widths = [3, 4, 5] if widths is None else widths
        _check(embedding_size, hidden_size, 1, word_dropout, embedding_dropout, dropout)
        embedding = WordEmbedding(num_words, num_trained, vector_size, embedding_size, word_dropout)
        encoder = Convolutions(embedding.size, hidden_size, widths)
        pool = Pool(hidden_size * len(widths), "max")
        super().__init__(embedding, encoder, pool, num_outputs, embedding_dropout, dropout)
