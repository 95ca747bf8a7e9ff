"""Sequences of the temporal order problem, drawn anew for every step."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from apps.base.account import Account
from apps.base.application import DataModule
from apps.synthetic.stream import stream_loader

Batch = tuple[Tensor, Tensor]

NUM_SYMBOLS = 6  # A, B and four distractors
NUM_CLASSES = 4  # AA, AB, BA, BB
_HELD_OUT = 2013  # seeds what is validated and tested on, the same for all runs


@dataclass(frozen=True, slots=True)
class Sequences:
    """The problem at one length (Hochreiter and Schmidhuber 1997, as Pascanu et al. 2013 pose it).

    A or B stands at one random place of the second tenth of a sequence and at one of the sixth;
    all else is distractors. The class says which two came, in order. Raises ValueError for a length
    below 10.
    """

    length: int

    def __post_init__(self) -> None:
        if self.length < 10:
            raise ValueError(f"length must be an integer >= 10, got {self.length}")

    def draw(self, generator: np.random.Generator, count: int) -> Batch:
        """Symbols (count, length) from 0 to 5, and classes (count,), int64."""
        width, rows = self.length // 10, np.arange(count)
        symbols = generator.integers(2, NUM_SYMBOLS, (count, self.length))
        marks = generator.integers(0, 2, (count, 2))
        starts = np.array([width, self.length // 2])
        places = generator.integers(0, width, (count, 2)) + starts
        symbols[rows[:, None], places] = marks
        return torch.from_numpy(symbols), torch.from_numpy(marks @ [2, 1])


class SequenceData(DataModule):
    """Batches of new sequences to train on; fixed ones to validate and test on.

    batch_size: sequences in a step. steps_per_epoch: steps between two validations.
    """

    def __init__(
        self, source: Sequences, *, batch_size: int, steps_per_epoch: int, seed: int
    ) -> None:
        super().__init__()
        self.source = source
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch
        self.seed = seed

    def setup(self, stage: str) -> None:
        """Draw what is validated and tested on: 1,000 and 10,000 sequences."""
        generator = np.random.default_rng((_HELD_OUT, self.source.length))
        self.val = self.source.draw(generator, 1_000)
        self.test = self.source.draw(generator, 10_000)
        text = (
            f"temporal order: sequences of {self.source.length} symbols, {self.batch_size} new "
            "ones in every step; 1,000 to validate and 10,000 to test on"
        )
        self.account = Account({"data": text})

    @property
    def description(self) -> dict[str, Any]:
        """What the network has to know of its inputs and outputs."""
        return {"num_symbols": NUM_SYMBOLS, "num_classes": NUM_CLASSES}

    @property
    def fingerprint(self) -> str:
        """A hash of the test sequences."""
        return hashlib.sha256(self.test[0].numpy().tobytes()).hexdigest()[:16]

    def train_dataloader(self) -> DataLoader[Batch]:
        """New sequences for every step."""

        def draw(generator: np.random.Generator) -> Batch:
            return self.source.draw(generator, self.batch_size)

        return stream_loader(draw, self.seed, self.steps_per_epoch)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The validation sequences as one batch."""
        return DataLoader([self.val], batch_size=None)  # type: ignore[arg-type]
