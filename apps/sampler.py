"""The order in which samples are drawn, the same for every strategy of a comparison."""

from __future__ import annotations

from collections.abc import Iterator

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
