"""What the networks share: word vectors at the bottom, pooling over words at the top."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from apps.sentiment.vocabulary import PADDING, UNKNOWN

Pooling = Literal["attention", "max", "attention_max", "last"]


class WordEmbedding(nn.Module):
    """Trained vectors of the training words, or pretrained vectors and what training adds.

    num_trained: numbers with weights of their own; higher ones have a pretrained vector alone.
    num_words, vector_size: shape of the table of pretrained vectors, which `set_vectors` fills
    and which travels in the state dict; a vector_size of 0 means none, and only then
    embedding_size counts. The weights start at zero beside pretrained vectors. In training a
    share `word_dropout` of the words becomes unknown, so that no one word carries everything.
    """

    vectors: Tensor

    def __init__(
        self,
        num_words: int,
        num_trained: int,
        vector_size: int,
        embedding_size: int,
        word_dropout: float,
    ) -> None:
        super().__init__()
        if num_trained == 0:
            raise ValueError("an encoder's vocabulary is for model=pretrained alone")
        self.num_trained = num_trained
        self.word_dropout = word_dropout
        self.size = vector_size or embedding_size
        self.table = nn.Embedding(num_trained, self.size, padding_idx=PADDING)
        nn.init.normal_(self.table.weight, std=0.0 if vector_size else 0.1)
        nn.init.zeros_(self.table.weight[PADDING].detach())
        self.register_buffer("vectors", torch.zeros(num_words, vector_size))

    def set_vectors(self, vectors: Tensor) -> None:
        """Fill the table of pretrained vectors, (num_words, vector_size)."""
        self.vectors.copy_(vectors)

    def forward(self, words: Tensor) -> Tensor:
        """Vectors (B, L, size) of words (B, L)."""
        if self.training and self.word_dropout:
            dropped = torch.rand(words.shape, device=words.device) < self.word_dropout
            words = words.masked_fill(dropped & (words != PADDING), UNKNOWN)
        trained: Tensor = self.table(words.masked_fill(words >= self.num_trained, PADDING))
        if not self.vectors.shape[1]:
            return trained
        return trained + self.vectors[words]


class Pool(nn.Module):
    """States (B, L, size) of the words to one vector (B, out_size) of the text.

    attention: mean weighted by a softmax over v . tanh(W state + b) (Yang et al. 2016,
    "Hierarchical attention networks", eq. 5-7). max: the largest of each component.
    last: the state of the last word.
    """

    def __init__(self, size: int, pooling: Pooling) -> None:
        super().__init__()
        if pooling not in get_args(Pooling):
            raise ValueError(f"pooling must be one of {', '.join(get_args(Pooling))}")
        self.pooling = pooling
        self.out_size = 2 * size if pooling == "attention_max" else size
        if "attention" in pooling:
            self.score = nn.Sequential(nn.Linear(size, size), nn.Tanh(), nn.Linear(size, 1))

    def forward(self, states: Tensor, present: Tensor) -> Tensor:
        """The text's vector; `present` (B, L) is False for padding."""
        if self.pooling == "last":
            last = present.sum(dim=1).clamp(min=1) - 1
            return states[torch.arange(len(states), device=states.device), last]
        parts = []
        if "attention" in self.pooling:
            scores = self.score(states).squeeze(-1).masked_fill(~present, -torch.inf)
            # A text without words has no largest score; its vector is zero.
            weights = torch.softmax(scores, dim=1).nan_to_num(0.0)
            parts.append((weights.unsqueeze(1) @ states).squeeze(1))
        if "max" in self.pooling:
            highest = states.masked_fill(~present.unsqueeze(-1), -torch.inf).amax(dim=1)
            parts.append(highest.masked_fill(highest.isinf(), 0.0))
        return torch.cat(parts, dim=-1)
