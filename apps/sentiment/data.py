"""The sentiment application's data: texts as batches of word numbers of similar length."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from apps.base.account import Account
from apps.base.application import DataModule
from apps.base.sampler import LengthSampler, TrainLoader
from apps.errors import UserError
from apps.sentiment.corpus import PARTS, POLARITIES, Part, polarity
from apps.sentiment.encoding import Encoding
from apps.sentiment.ridge import Floats, RidgeSource
from apps.sentiment.sources import Source
from apps.sentiment.task import Batch
from apps.sentiment.vectors import Matrix, Vectors, align
from apps.sentiment.vocabulary import PADDING, Ids, VocabularySource


class Texts(Dataset[Batch]):
    """Texts as numbers, fetched a batch at a time."""

    def __init__(self, words: Sequence[Ids], targets: Sequence[float]) -> None:
        self.words = words
        self.targets = np.asarray(targets, np.float32)

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.words)

    def __getitem__(self, indices: list[int]) -> Batch:
        """Words (B, L) padded with 0 and targets (B,)."""
        words = pad([self.words[i] for i in indices])
        return words, torch.from_numpy(self.targets[indices])


def pad(texts: Sequence[Ids]) -> Tensor:
    """Texts of different lengths as one tensor (B, L), L at least 1, filled with 0."""
    longest = max(1, *map(len, texts)) if len(texts) > 1 else max(1, len(texts[0]))
    table = np.full((len(texts), longest), PADDING)
    for row, words in zip(table, texts, strict=True):
        row[: len(words)] = words
    return torch.from_numpy(table)


class SentimentData(DataModule):
    """Texts of a source, with a vocabulary of the training texts.

    max_length: words, or parts of words, of a text that are read.
    """

    def __init__(
        self,
        source: Source,
        vectors: Vectors,
        vocabulary: VocabularySource,
        ridge: RidgeSource,
        *,
        batch_size: int,
        max_length: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.source = source
        self.vectors = vectors
        self.vocabulary = vocabulary
        self.ridge = ridge
        self.batch_size = batch_size
        self.max_length = max_length
        self.seed = seed

    def prepare_data(self) -> None:
        """Fetch what has to be fetched."""
        self.source.fetch()
        self.vectors.fetch()

    def setup(self, stage: str) -> None:
        """Read the texts and build the vocabulary, once."""
        if hasattr(self, "corpus"):
            return
        self.corpus = self.source.read()
        table = self.vectors.read()
        vocabulary = self.vocabulary.build(self.part("train")["text"], table.extra)
        if vocabulary.limit is not None and self.max_length > vocabulary.limit:
            raise UserError(
                f"app.max_length={self.max_length}: the encoder reads at most {vocabulary.limit}"
            )
        self.matrix: Matrix = align(vocabulary, table)
        self.encoding = Encoding(
            vocabulary,
            self.max_length,
            self.corpus.classes,
            self.vectors.size,
            self.source.text,
            self.ridge.ngrams(self.part("train")["text"]),
        )
        self.account = self._account()

    def part(self, part: Part) -> pd.DataFrame:
        """The texts of one side of the split."""
        return self.corpus.part(part)

    @cached_property
    def ridge_weights(self) -> tuple[Floats, Floats]:
        """Weights and biases of the ridge, fitted to the training texts."""
        train, classes = self.part("train"), self.corpus.classes
        targets = train["target"].to_numpy(float)
        count = None if classes is None else len(classes)
        return self.ridge.fit(self.encoding.weigh(train["text"]), targets, count)

    @property
    def description(self) -> dict[str, Any]:
        """What a trained run has to know about its data, as plain values."""
        return self.encoding.to_dict()

    @property
    def fingerprint(self) -> str:
        """A hash of the texts, their targets and their split."""
        rows = pd.util.hash_pandas_object(self.corpus.frame, index=False).to_numpy()
        classes = str(self.corpus.classes).encode()
        return hashlib.sha256(rows.tobytes() + classes).hexdigest()[:16]

    def train_dataloader(self) -> DataLoader[Batch]:
        """All training texts in batches of similar length, in a new order in each epoch."""
        texts = self._texts("train")
        lengths = [len(words) for words in texts.words]
        sampler = LengthSampler(lengths, self.batch_size, self.seed)
        return TrainLoader(texts, batch_size=None, sampler=sampler)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The validation texts, by length."""
        texts = self._texts("val")
        order = by_length(texts.words)
        batches = [order[i : i + 256] for i in range(0, len(order), 256)]
        return DataLoader(texts, batch_size=None, sampler=batches)

    def _texts(self, part: Part) -> Texts:
        frame = self.part(part)
        return Texts(self.encoding.encode(frame["text"]), frame["target"].tolist())

    def _account(self) -> Account:
        """What was found, part by part."""
        frame, classes = self.corpus.frame, self.corpus.classes
        domains = [f"{count} of {name}" for name, count in frame["domain"].value_counts().items()]
        lines: dict[str, object] = {
            "file": "; ".join(filter(None, [self.source.name, self.corpus.note]))
        }
        lines["texts"] = f"{len(frame)} ({', '.join(domains)})" if len(domains) > 1 else len(frame)
        if classes is None:
            lines["truth"] = f"ratings, {_polarities(frame['target'])}"
        else:
            counts = frame["target"].value_counts()
            named = [f"{name} ({counts.get(number, 0)})" for number, name in enumerate(classes)]
            lines["truth"] = f"classes {', '.join(named)}"
        lines |= {part: f"{len(self.part(part))} texts" for part in PARTS}
        lines["vocabulary"] = self.encoding.vocabulary.account
        if self.encoding.ngrams is not None:
            lines["ridge"] = f"{len(self.encoding.ngrams)} n-grams of words and letters"
        return Account({title: str(line) for title, line in lines.items()})


def _polarities(ratings: pd.Series) -> str:
    """How many ratings are negative, neutral and positive."""
    counts = np.bincount(polarity(ratings), minlength=len(POLARITIES))
    return ", ".join(f"{count} {name}" for name, count in zip(POLARITIES, counts, strict=True))


def by_length(texts: Sequence[Ids]) -> list[int]:
    """Positions of the texts from the shortest to the longest."""
    return [int(i) for i in np.argsort([len(words) for words in texts], kind="stable")]
