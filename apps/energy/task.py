"""Training a quantile forecaster."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from apps.base.task import Optimization, Task
from apps.energy.data import Batch
from apps.energy.ridge_residual import RidgeResidual

Loss = Literal["pinball", "mse"]


class ForecastTask(Task):
    """Minimises the pinball loss of all quantiles, or the squared error of the middle one.

    Pinball (Koenker and Bassett 1978): mean over levels q of max(q d, (q - 1) d) with
    d = target - quantile, in scaled units.
    """

    levels: Tensor

    def __init__(
        self, net: nn.Module, optimization: Optimization, levels: tuple[float, ...], loss: Loss
    ) -> None:
        super().__init__(net, optimization)
        self.kind = loss
        if isinstance(net, RidgeResidual):
            self.divergence_ratio = 2.0
        self.register_buffer("levels", torch.tensor(levels), persistent=False)

    def loss(self, batch: Batch) -> Tensor:
        """The loss of a batch, 0-d."""
        past, future, target = batch
        quantiles = self.net(past, future)
        if self.kind == "mse":
            return nn.functional.mse_loss(quantiles[..., len(self.levels) // 2], target)
        difference = target.unsqueeze(-1) - quantiles
        return torch.maximum(self.levels * difference, (self.levels - 1) * difference).mean()

    @property
    def faults(self) -> tuple[str, ...]:
        """Readings may be wrong, and days may be mixed up."""
        return ("outliers", "label_noise")

    def outlying(self, batch: Batch, scale: float) -> Batch:
        """The batch with history and target `scale` times as large."""
        past, future, target = batch
        return scale * past, future, scale * target

    def relabelled(self, batch: Batch, order: Tensor) -> Batch:
        """The batch with the targets in another order."""
        past, future, target = batch
        return past, future, target[order]

    def batch_size(self, batch: Batch) -> int:
        """Number of windows in a batch."""
        return len(batch[0])
