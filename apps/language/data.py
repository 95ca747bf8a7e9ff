"""The language model's data: texts as batches of numbers of similar length."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from apps.base.account import Account
from apps.base.application import DataModule
from apps.base.sampler import LengthSampler, TrainLoader
from apps.language.alphabet import PADDING, Alphabet, Ids, Piece, cut
from apps.language.sources import PARTS, Source
from apps.language.task import Batch

BATCH = 64  # pieces that are read at once where nothing is trained


class Pieces(Dataset[Batch]):
    """Pieces of texts, fetched a batch at a time: inputs and targets (B, L), and the weight 1."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces = pieces
        self.lengths = [len(piece.inputs) for piece in pieces]

    def __len__(self) -> int:
        """Number of pieces."""
        return len(self.pieces)

    def __getitem__(self, indices: list[int]) -> Batch:
        """The pieces of these numbers, padded."""
        chosen = [self.pieces[i] for i in indices]
        inputs, targets = (
            _padded([getattr(piece, side) for piece in chosen]) for side in ("inputs", "targets")
        )
        return inputs, targets, torch.ones(())

    def by_length(self) -> list[list[int]]:
        """The numbers of the pieces in batches, from the shortest to the longest."""
        order = np.argsort(self.lengths, kind="stable")
        return [order[i : i + BATCH].tolist() for i in range(0, len(order), BATCH)]


def _padded(rows: Sequence[Ids]) -> Tensor:
    table = np.full((len(rows), max(map(len, rows))), PADDING)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return torch.from_numpy(table)


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is read of the texts, and how much at once; see `conf/app/language.yaml`."""

    batch_size: int
    context: int
    texts_per_epoch: int
    held_out: int
    least: int
    most: int


class LanguageData(DataModule):
    """Texts of a source, with the alphabet of those to train on."""

    def __init__(self, source: Source, sizes: Sizes, seed: int) -> None:
        super().__init__()
        self.source = source
        self.sizes = sizes
        self.seed = seed

    def prepare_data(self) -> None:
        """Fetch what has to be fetched."""
        self.source.fetch()

    def setup(self, stage: str) -> None:
        """Read the texts and the alphabet, once."""
        if hasattr(self, "frame"):
            return
        self.frame = self.source.read()
        sizes = self.sizes
        self.alphabet = Alphabet.of(
            self.part("train")["text"],
            sizes.context,
            self.source.text,
            least=sizes.least,
            most=sizes.most,
        )
        self.account = self._account()

    def part(self, part: str) -> pd.DataFrame:
        """The texts of one side of the split; of those held out the most that are read."""
        frame = self.frame[self.frame["split"] == part].reset_index(drop=True)
        if part == "train" or len(frame) <= self.sizes.held_out:
            return frame
        # Spread over the file, so that every kind of text is there.
        chosen = np.linspace(0, len(frame) - 1, self.sizes.held_out).round().astype(int)
        return frame.iloc[chosen].reset_index(drop=True)

    def encoded(self, part: str) -> list[Ids]:
        """The texts of one side as numbers."""
        return [self.alphabet.encode(text) for text in self.part(part)["text"]]

    @property
    def description(self) -> dict[str, Any]:
        """What a trained run has to know about its data, as plain values."""
        return self.alphabet.to_dict()

    @property
    def fingerprint(self) -> str:
        """A hash of the texts that are read, their split and the alphabet."""
        read = pd.concat([self.part(part) for part in PARTS])
        rows = pd.util.hash_pandas_object(read, index=False).to_numpy().tobytes()
        return hashlib.sha256(rows + self.alphabet.characters.encode()).hexdigest()[:16]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Training texts in batches of similar length, in a new order in each epoch."""
        pieces, sizes = self._pieces("train"), self.sizes
        sampler = LengthSampler(
            pieces.lengths, sizes.batch_size, self.seed, num_samples=sizes.texts_per_epoch
        )
        return TrainLoader(pieces, batch_size=None, sampler=sampler)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The validation texts, by length."""
        pieces = self._pieces("val")
        return DataLoader(pieces, batch_size=None, sampler=pieces.by_length())

    def _pieces(self, part: str) -> Pieces:
        context = self.sizes.context
        return Pieces([piece for ids in self.encoded(part) for piece in cut(ids, context)])

    def _account(self) -> Account:
        """What was found, part by part."""
        domains = self.frame["domain"].value_counts()
        kinds = ", ".join(f"{count} of {name}" for name, count in domains.items())
        texts = f"{len(self.frame)} ({kinds})" if len(domains) > 1 else str(len(self.frame))
        lines = {
            "file": "; ".join(filter(None, [self.source.name, self.source.note])),
            "texts": texts,
        }
        for part in PARTS:
            read = self.part(part)["text"]
            lines[part] = f"{len(read)} texts, {int(read.str.len().sum())} characters"
        known = self.alphabet.characters
        lines["alphabet"] = f"{len(known)} characters; all others are one unknown character"
        return Account(lines)
