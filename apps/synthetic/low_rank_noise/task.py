"""Descending a quadratic over matrices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from apps.base.task import Optimization, Task


class Matrices(nn.Module):
    """Where the descents stand: a square parameter each, `start` times the identity at first."""

    def __init__(self, matrices: int, side: int, start: float = 1.0) -> None:
        super().__init__()
        self.points = nn.ParameterList(start * torch.eye(side) for _ in range(matrices))

    def forward(self) -> Tensor:
        """The matrices (R, D, D)."""
        return torch.stack(list(self.points))


class MatricesTask(Task):
    """Minimises f(X) = |X|^2 / 2 from gradients X + noise, for each matrix by itself.

    What counts is the mean of the squared gradient norm |X|^2 over the steps so far. Half of the
    matrices, which share nothing with the others, give the validation loss, by which keys are
    tuned; the others are scored. To fall short is a result here, and no divergence.
    """

    may_stall = True
    total: Tensor
    num_steps: Tensor

    def __init__(self, net: nn.Module, optimization: Optimization) -> None:
        super().__init__(net, optimization)
        self.register_buffer("total", torch.zeros(len(net())))
        self.register_buffer("num_steps", torch.zeros((), dtype=torch.int64))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """The loss of a step, whose squared gradient norms enter the mean."""
        self.count()
        return super().training_step(batch, batch_idx)

    def count(self) -> None:
        """Let the squared gradient norms of where the matrices stand enter the mean."""
        self.total += self.squares()
        self.num_steps += 1

    def loss(self, batch: Tensor) -> Tensor:
        """The mean of f, 0-d; its gradient is X + noise for every matrix, of noise (R, D, D)."""
        points = self.net()
        driving = (0.5 * points.square() + batch * points).sum()
        loss: Tensor = driving + (0.5 * self.squares().mean() - driving).detach()
        return loss

    def validation_loss(self, batch: Tensor) -> Tensor:
        """The mean squared gradient norm of the first half of the matrices, 0-d."""
        return self.means()[: len(self.total) // 2].mean()

    def scored(self) -> Tensor:
        """The mean squared gradient norm of each matrix of the other half."""
        return self.means()[len(self.total) // 2 :]

    def means(self) -> Tensor:
        """The mean squared gradient norm over the steps so far, (R,)."""
        return self.total / self.num_steps if self.num_steps else self.squares()

    @torch.no_grad()
    def squares(self) -> Tensor:
        """The squared gradient norm of each matrix where it stands, (R,)."""
        squares: Tensor = self.net().square().sum((1, 2))
        return squares

    @property
    def faults(self) -> tuple[str, ...]:
        """The noise may be worse; there are no labels."""
        return ("outliers",)

    def outlying(self, batch: Tensor, scale: float) -> Tensor:
        """The noise `scale` times as large."""
        return scale * batch

    def batch_size(self, batch: Any) -> int:
        """Number of matrices."""
        return len(batch)
