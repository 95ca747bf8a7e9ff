"""Descending a quadratic whose gradient is noisy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from apps.base.task import Task


class Points(nn.Module):
    """Where the replications stand: one row each, all `start` in every dimension at first."""

    def __init__(self, replications: int, dimensions: int, start: float = 3.0) -> None:
        super().__init__()
        self.points = nn.Parameter(torch.full((replications, dimensions), start))

    def forward(self) -> Tensor:
        """The points (R, D)."""
        return self.points


class QuadraticTask(Task):
    """Minimises f(x) = |x|^2 / 2 from gradients x + noise, in each replication (row) by itself.

    f has its minimum 0 at 0 and is 1-strongly convex and 1-smooth. The loss is the mean of f over
    the replications, of which steps are recorded; the validation loss is the median, since a mean
    of heavy tails tells of its largest value alone.
    """

    def loss(self, batch: Tensor) -> Tensor:
        """The mean of f, 0-d; its gradient is x + noise in every row, of noise (R, D)."""
        points = self.net()
        driving = (0.5 * points.square() + batch * points).sum()
        loss: Tensor = driving + (self.excess().mean() - driving).detach()
        return loss

    def validation_loss(self, batch: Tensor) -> Tensor:
        """The median of f, 0-d."""
        return self.excess().median()

    @property
    def faults(self) -> tuple[str, ...]:
        """The noise may be worse; there are no labels."""
        return ("outliers",)

    def outlying(self, batch: Tensor, scale: float) -> Tensor:
        """The noise `scale` times as large."""
        return scale * batch

    def batch_size(self, batch: Any) -> int:
        """Number of replications."""
        return len(batch)

    @torch.no_grad()
    def excess(self) -> Tensor:
        """f above its minimum, (R,)."""
        excess: Tensor = 0.5 * self.net().square().sum(1)
        return excess
