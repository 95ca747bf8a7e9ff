"""The training task that all applications share: a network, its loss, its optimisation."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

import lightning.pytorch as pl
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, OneCycleLR

Schedule: TypeAlias = Literal["constant", "cosine", "onecycle", "inverse"]


@dataclass(frozen=True, slots=True)
class Optimization:
    """How a task is optimised.

    optimizer: makes the optimizer from parameter groups.
    schedule: the learning rate over the run: `constant`; `cosine` from the optimizer's rate to
        zero; `onecycle`, a linear rise over `warmup` of the run and a cosine fall to zero;
        `inverse`, the optimizer's rate times 2 / (k + 1) at step k = 1, 2, ..., with which
        stochastic gradient descent converges on strongly convex functions.
    """

    optimizer: Callable[[list[dict[str, Any]]], Optimizer]
    schedule: Schedule = "constant"
    warmup: float = 0.1

    def __post_init__(self) -> None:
        if self.schedule not in get_args(Schedule):
            allowed = ", ".join(get_args(Schedule))
            raise ValueError(f"schedule must be one of {allowed}, got {self.schedule!r}")
        if not 0 < self.warmup < 1:
            raise ValueError(f"warmup must be a share between 0 and 1, got {self.warmup!r}")

    def make_optimizer(self, net: nn.Module) -> Optimizer:
        """The optimizer over two parameter groups: weights, and (without decay) vectors."""
        params = [p for p in net.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": [p for p in params if p.ndim >= 2]}]
        groups += [{"params": [p for p in params if p.ndim < 2], "weight_decay": 0.0}]
        optimizer = self.optimizer([group for group in groups if group["params"]])
        rate = optimizer.defaults["lr"]
        if not math.isfinite(rate):  # torch refuses a negative rate alone
            raise ValueError(f"lr must be a finite number >= 0, got {rate}")
        return optimizer

    def make_schedule(self, optimizer: Optimizer, num_steps: int) -> LRScheduler | None:
        """The scheduler, stepped once per optimizer step; None for a constant rate."""
        if self.schedule == "cosine":
            return CosineAnnealingLR(optimizer, num_steps)
        if self.schedule == "inverse":
            return LambdaLR(optimizer, lambda past: 2 / (past + 2))
        if self.schedule == "onecycle":
            rates = [group["lr"] for group in optimizer.param_groups]
            # A rise of exactly one step makes OneCycleLR divide by zero.
            exact = math.isclose(self.warmup * num_steps, 1)
            rise = min(1.5 * self.warmup, 1.0) if exact else self.warmup
            return OneCycleLR(optimizer, rates, num_steps, pct_start=rise, cycle_momentum=False)
        return None


class Task(pl.LightningModule, ABC):
    """A network with its loss. An application implements `loss`.

    Clipping is no business of the task: the callback `GradientClipping` does it. A task whose
    forecasts can die while its loss stays finite sets `alive` in `loss`: whether those of the
    batch live, a 0-d bool. One on which learning nothing is a result like another, and no
    divergence, sets `may_stall`. One whose network begins as a fitted model, so that there may be
    little to gain, sets `divergence_ratio`: how many times the validation loss of the untrained
    network that of a run must exceed to count as diverged. One that measures more of a step than
    its loss names that in `measures`, and its `training_step` sets it in `measured`, as 0-d tensors
    by name.
    """

    divergence_ratio: float = 1.0
    measures: tuple[str, ...] = ()
    measured: Mapping[str, Tensor] = MappingProxyType({})

    alive: Tensor | None = None
    may_stall: bool = False
    # Set by a callback that stresses training: what it makes of a batch of a number.
    corrupt: Callable[[Any, int], Any] | None = None

    def __init__(self, net: nn.Module, optimization: Optimization) -> None:
        super().__init__()
        self.net = net
        self._optimization = optimization

    @abstractmethod
    def loss(self, batch: Any) -> Tensor:
        """The training loss of a batch, 0-d."""

    def validation_loss(self, batch: Any) -> Tensor:
        """The loss by which the best checkpoint is chosen, 0-d."""
        return self.loss(batch)

    @abstractmethod
    def batch_size(self, batch: Any) -> int:
        """Number of samples in a batch."""

    @property
    def faults(self) -> Collection[str]:
        """What can be done to a batch.

        `outliers` needs `outlying`, `label_noise` `relabelled`, `long_sequences` `joined`.
        """
        return ()

    def outlying(self, batch: Any, scale: float) -> Any:
        """The batch with the numbers in it `scale` times as large, in inputs and targets."""
        raise NotImplementedError

    def relabelled(self, batch: Any, order: Tensor) -> Any:
        """The batch in which sample i has the target of sample order[i]."""
        raise NotImplementedError

    def joined(self, batch: Any, groups: Sequence[Tensor]) -> Any:
        """The batch in which the samples of each group, by number, are one sequence."""
        raise NotImplementedError

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """The batch as it is trained on; those of validation are never touched."""
        if self.corrupt is None or not self.trainer.training:
            return batch
        return self.corrupt(batch, self.trainer.fit_loop.epoch_loop.total_batch_idx + 1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        loss = self.loss(batch)
        if self._is_logged_now:
            self.log("train/loss", loss, batch_size=self.batch_size(batch), sync_dist=True)
        return loss

    @property
    def _is_logged_now(self) -> bool:
        """Whether this step is one that loggers take, or the last of an epoch, for monitors.

        Lightning would take every value, and leave the others out: a tenth of a small training.
        """
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        due = every > 0 and (self.global_step + 1) % every == 0
        return due or bool(self.trainer.is_last_batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log the validation loss, averaged over the samples of the epoch."""
        loss = self.validation_loss(batch)
        self.log("val/loss", loss, batch_size=self.batch_size(batch), sync_dist=True)

    def configure_model(self) -> None:
        """Shard the network with FSDP2 where the strategy has a mesh of processes for that.

        As one unit, gathered for the whole pass: a network may use its modules in any way.
        """
        if self._device_mesh is None:
            return
        # Not above: there are builds of torch without it.
        from torch.distributed.fsdp import FSDPModule, fully_shard

        if not isinstance(self.net, FSDPModule):
            fully_shard(self.net, mesh=self._device_mesh["data_parallel"])

    def make_optimizer(self) -> Optimizer:
        """A fresh optimizer of the network's parameters."""
        return self._optimization.make_optimizer(self.net)

    def configure_optimizers(self) -> Any:
        """The optimizer and its schedule, as Lightning wants them."""
        optimizer = self.make_optimizer()
        num_steps = int(self.trainer.estimated_stepping_batches)
        scheduler = self._optimization.make_schedule(optimizer, num_steps)
        if scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }
