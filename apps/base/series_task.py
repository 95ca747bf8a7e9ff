"""A task on windows of series."""

from __future__ import annotations

from abc import ABC

from torch import Tensor

from apps.base.task import Task

Batch = tuple[Tensor, Tensor, Tensor]  # histories, what is known ahead, targets; samples first


class SeriesTask(Task, ABC):
    """Learns targets from histories and what is known ahead of them."""

    @property
    def faults(self) -> tuple[str, ...]:
        """Readings and prices may be wrong, and days may be mixed up."""
        return ("outliers", "label_noise")

    def outlying(self, batch: Batch, scale: float) -> Batch:
        """The batch with histories and targets `scale` times as large."""
        history, known, target = batch
        return scale * history, known, scale * target

    def relabelled(self, batch: Batch, order: Tensor) -> Batch:
        """The batch with the targets in another order."""
        history, known, target = batch
        return history, known, target[order]

    def batch_size(self, batch: Batch) -> int:
        """Number of samples in a batch."""
        return len(batch[0])
