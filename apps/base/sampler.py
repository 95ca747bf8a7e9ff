"""The order in which samples are drawn, the same for every strategy and after an interruption."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, Sampler

Item = TypeVar("Item")


class ResumableSampler(Sampler[Item], ABC):
    """An order of samples, or of batches, anew in every epoch, that goes on where it was left.

    Lightning calls `set_epoch`.
    """

    epoch = 0
    _left_at = 0, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self.epoch = epoch

    def go_on(self, epoch: int, taken: int) -> None:
        """Leave out so many items of one epoch, which were taken before an interruption."""
        self._left_at = epoch, taken

    @property
    def taken(self) -> int:
        """How many items of the epoch are left out."""
        epoch, taken = self._left_at
        return taken if epoch == self.epoch else 0

    def may_be_left_at(self, taken: int) -> bool:
        """Whether the items after so many need nothing of those before."""
        return True

    @abstractmethod
    def items(self) -> Sequence[Item]:
        """All items of the epoch that this process takes."""

    def __iter__(self) -> Iterator[Item]:
        """The items that are left."""
        yield from self.items()[self.taken :]


class SharedSampler(ResumableSampler[Item]):
    """An order of samples, or of batches, that is dealt out among the processes.

    The order depends on the seed and the epoch alone, so that a resumed run continues with the
    batches it would have seen. Of W processes each takes every W-th item, so that their batches
    together are those of one process with batches W times as large; up to W - 1 items at the end
    are left out, so that all of them take as many.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    @abstractmethod
    def order(self, generator: torch.Generator) -> list[Item]:
        """All items of an epoch, drawn with the generator."""

    @abstractmethod
    def count(self) -> int:
        """Number of items that `order` returns."""

    def items(self) -> list[Item]:
        """Those that this process takes."""
        generator = torch.Generator().manual_seed(hash((self.seed, self.epoch)) % 2**63)
        rank, world = _place()
        return self.order(generator)[rank : len(self) * world : world]

    def __len__(self) -> int:
        """Number of items that a process takes in an epoch."""
        return self.count() // _place()[1]


class EpochSampler(SharedSampler[int]):
    """Draws `num_samples` of `size` samples without repetition, anew in every epoch."""

    def __init__(self, size: int, num_samples: int, seed: int) -> None:
        super().__init__(seed)
        self.size = size
        self.num_samples = min(num_samples, size)

    def order(self, generator: torch.Generator) -> list[int]:
        """The sample numbers of the epoch."""
        drawn: list[int] = torch.randperm(self.size, generator=generator).tolist()
        return drawn[: self.num_samples]

    def count(self) -> int:
        """Number of samples in an epoch."""
        return self.num_samples


class LengthSampler(SharedSampler[list[int]]):
    """Batches of samples of similar length, each sample once, in a new order in every epoch.

    The samples are shuffled, cut into stretches of 50 batches, and each stretch is sorted by
    length; so little of a batch is padding, and no two epochs have the same batches. For a
    DataLoader with `batch_size=None`, whose data set takes a list of indices.

    num_samples: of all, drawn anew in every epoch; None takes all.
    """

    def __init__(
        self, lengths: Sequence[int], batch_size: int, seed: int, num_samples: int | None = None
    ) -> None:
        super().__init__(seed)
        self.lengths = torch.as_tensor(lengths)
        self.batch_size = batch_size
        self.num_samples = min(num_samples or len(lengths), len(lengths))

    def order(self, generator: torch.Generator) -> list[list[int]]:
        """The sample numbers of each batch of the epoch."""
        order = torch.randperm(len(self.lengths), generator=generator)[: self.num_samples]
        batches: list[list[int]] = []
        for stretch in torch.split(order, 50 * self.batch_size):
            ranked = stretch[self.lengths[stretch].argsort(stable=True)]
            batches += [batch.tolist() for batch in torch.split(ranked, self.batch_size)]
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]

    def count(self) -> int:
        """Number of batches in an epoch."""
        return -(-self.num_samples // self.batch_size)


class TrainLoader(DataLoader[Item]):
    """A DataLoader over a ResumableSampler."""

    sampler: ResumableSampler[Any]
    given = 0  # batches of the epoch

    def __iter__(self) -> Any:
        """The batches of the epoch that are left."""
        return self._counted(super().__iter__())

    def _counted(self, batches: Iterator[Item]) -> Iterator[Item]:
        self.given = self.sampler.taken // self._items
        for batch in batches:
            self.given += 1
            yield batch

    def go_on(self, epoch: int, given: int) -> None:
        """Leave out so many batches of one epoch, which were given before an interruption."""
        self.sampler.go_on(epoch, given * self._items)

    @property
    def may_be_left(self) -> bool:
        """Whether an interrupted run can go on after the batch that was given last."""
        return self.sampler.may_be_left_at(self.given * self._items)

    @property
    def _items(self) -> int:
        """How many items of the sampler make a batch."""
        return self.batch_size or 1  # without a size the sampler's items are batches


def _place() -> tuple[int, int]:
    """The number of this process, and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
