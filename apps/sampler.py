"""The order in which samples are drawn, the same for every strategy of a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """Draws `num_samples` of `size` samples without repetition, anew in every epoch.

    The draw depends on the seed and the epoch alone, so that a resumed run continues with the
    batches it would have seen. Lightning calls `set_epoch`.
    """

    def __init__(self, size: int, num_samples: int, seed: int) -> None:
        self.size = size
        self.num_samples = min(num_samples, size)
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the draw of an epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """The sample numbers of the epoch."""
        generator = torch.Generator().manual_seed(hash((self.seed, self.epoch)) % 2**63)
        yield from torch.randperm(self.size, generator=generator)[: self.num_samples].tolist()

    def __len__(self) -> int:
        """Number of samples in an epoch."""
        return self.num_samples


class LengthSampler(Sampler[list[int]]):
    """Batches of samples of similar length, all samples once, in a new order in every epoch.

    The samples are shuffled, cut into stretches of 50 batches, and each stretch is sorted by
    length; so little of a batch is padding, and no two epochs have the same batches. For a
    DataLoader with `batch_size=None`, whose data set takes a list of indices.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths = torch.as_tensor(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        """The sample numbers of each batch of the epoch."""
        generator = torch.Generator().manual_seed(hash((self.seed, self.epoch)) % 2**63)
        order = torch.randperm(len(self.lengths), generator=generator)
        batches: list[list[int]] = []
        for stretch in torch.split(order, 50 * self.batch_size):
            ranked = stretch[self.lengths[stretch].argsort(stable=True)]
            batches += [batch.tolist() for batch in torch.split(ranked, self.batch_size)]
        for i in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[i]

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return -(-len(self.lengths) // self.batch_size)
