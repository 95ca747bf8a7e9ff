"""Gradients and batches that go wrong on purpose, to see what a strategy makes of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch

from apps.base.task import Task
from apps.errors import UserError


class GradientFaults(pl.Callback):
    """Multiplies all gradients by a number at every `every`-th step, by the next one in turn.

    scales: `nan` and `inf` break the gradient, 0 empties it, 1e30 makes it an outlier. The
        clipper sees what comes out. Raises ValueError for no scales or an `every` below 1.
    """

    def __init__(self, scales: Sequence[float], every: int = 2) -> None:
        if not scales:
            raise ValueError("scales must hold at least one number, got none")
        if every < 1:
            raise ValueError(f"every must be an integer >= 1, got {every!r}")
        self.scales = [float(scale) for scale in scales]
        self.every = every

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Multiply the gradients of a step whose turn it is."""
        turn, rest = divmod(trainer.fit_loop.epoch_loop.total_batch_idx + 1, self.every)
        if rest:
            return
        for param in pl_module.parameters():
            if param.grad is not None:
                param.grad.mul_(self.scales[(turn - 1) % len(self.scales)])


class BatchFaults(pl.Callback, ABC):
    """Spoils batches that are trained on, the same ones for every strategy.

    What happens depends on `seed` and the number of the batch alone. `fault` is the name by which
    a task says that it can be done.
    """

    fault: ClassVar[str]

    def __init__(self, seed: int) -> None:
        self.seed = seed

    @abstractmethod
    def spoil(self, task: Task, batch: Any, number: int) -> Any:
        """What becomes of the batch of a number, counted from 0."""

    def generator(self, number: int) -> torch.Generator:
        """Random numbers that are the batch's own."""
        return torch.Generator().manual_seed(hash((self.seed, number)) % 2**63)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Have the task hand its batches over."""
        assert isinstance(pl_module, Task)
        task = pl_module
        task.corrupt = lambda batch, number: self.spoil(task, batch, number)


class OutlierBatches(BatchFaults):
    """Multiplies the numbers in every `every`-th batch by `scale`, as a faulty instrument would.

    Raises ValueError unless `every` >= 1 and `scale` > 0.
    """

    fault = "outliers"

    def __init__(self, scale: float = 30.0, every: int = 20, seed: int = 0) -> None:
        super().__init__(seed)
        if every < 1 or not 0 < scale < float("inf"):
            raise ValueError(f"every={every}, scale={scale}: must be >= 1, and a number > 0")
        self.scale = scale
        self.every = every

    def spoil(self, task: Task, batch: Any, number: int) -> Any:
        """The batch with outliers if its turn has come, which the seed shifts."""
        hit = (number + self.seed + 1) % self.every == 0
        return task.outlying(batch, self.scale) if hit else batch


class LabelNoise(BatchFaults):
    """Deals the targets of a share of each batch out anew among the samples that have them.

    Raises ValueError for a share outside (0, 1].
    """

    fault = "label_noise"

    def __init__(self, share: float = 0.3, seed: int = 0) -> None:
        super().__init__(seed)
        if not 0 < share <= 1:
            raise ValueError(f"share must be > 0 and <= 1, got {share}")
        self.share = share

    def spoil(self, task: Task, batch: Any, number: int) -> Any:
        """The batch with exchanged targets."""
        count = task.batch_size(batch)
        drawn = torch.randperm(count, generator=self.generator(number))[: round(self.share * count)]
        order = torch.arange(count)
        order[drawn] = drawn.roll(1)  # no target of these stays where it was
        return task.relabelled(batch, order)


class LongSequences(BatchFaults):
    """Joins every `times` samples of a batch, as the seed deals them out, to one with all targets.

    The last may be of fewer. Raises ValueError for `times` below 2.
    """

    fault = "long_sequences"

    def __init__(self, times: int = 4, seed: int = 0) -> None:
        super().__init__(seed)
        if times < 2:
            raise ValueError(f"times must be an integer >= 2, got {times!r}")
        self.times = times

    def spoil(self, task: Task, batch: Any, number: int) -> Any:
        """The batch of fewer and longer samples."""
        order = torch.randperm(task.batch_size(batch), generator=self.generator(number))
        return task.joined(batch, torch.split(order, self.times))


def check_faults(callbacks: Iterable[pl.Callback], task: Task, app: str) -> None:
    """UserError for a fault that the batches of an application's task cannot have."""
    for callback in callbacks:
        if isinstance(callback, BatchFaults) and callback.fault not in task.faults:
            allowed = ", ".join(task.faults) or "none"
            raise UserError(
                f"stress={callback.fault}: cannot be done to the batches of app={app} as it is "
                f"set; what can: {allowed}"
            )
