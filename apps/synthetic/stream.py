"""Batches drawn by a formula, each by its number and the run's seed alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
from torch.utils.data import DataLoader, Dataset

from apps.base.sampler import SharedSampler, TrainLoader

Batch = TypeVar("Batch")
Draw = Callable[[np.random.Generator], Batch]


class Stream(Dataset[Batch], Generic[Batch]):
    """Batch number n is what `draw` makes of a generator that is seeded by the seed and n."""

    def __init__(self, draw: Draw[Batch], seed: int) -> None:
        self.draw = draw
        self.seed = seed

    def __getitem__(self, number: int) -> Batch:
        """The batch of a number."""
        return self.draw(np.random.default_rng((self.seed, number)))


class Consecutive(SharedSampler[int]):
    """The numbers of the batches of an epoch: those that follow the epochs before."""

    def __init__(self, steps: int) -> None:
        super().__init__(seed=0)
        self.steps = steps

    def order(self, generator: object) -> list[int]:
        """The numbers of the epoch; nothing is drawn."""
        return list(range(self.epoch * self.steps, (self.epoch + 1) * self.steps))

    def count(self) -> int:
        """Number of batches in an epoch."""
        return self.steps


def stream_loader(draw: Draw[Batch], seed: int, steps: int) -> DataLoader[Batch]:
    """A loader of `steps` new batches in every epoch; none is seen twice."""
    return TrainLoader(Stream(draw, seed), batch_size=None, sampler=Consecutive(steps))
