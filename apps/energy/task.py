"""Training a quantile forecaster."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from apps.base.series_task import Batch, SeriesTask
from apps.base.task import Optimization
from apps.energy.ridge_residual import RidgeResidual

Loss = Literal["pinball", "mse"]


class ForecastTask(SeriesTask):
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
