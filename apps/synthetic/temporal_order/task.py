"""Training a network to tell the order of two symbols."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from apps.base.task import Task
from apps.synthetic.temporal_order.data import Batch


class OrderTask(Task):
    """Minimises the cross-entropy of the class; `val/error` is the share called wrongly.

    A network that learns nothing is a result here, and no divergence.
    """

    may_stall = True

    def loss(self, batch: Batch) -> Tensor:
        """The loss of a batch of symbols (B, T) and classes (B,), 0-d."""
        symbols, classes = batch
        return nn.functional.cross_entropy(self.net(symbols), classes)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the share of sequences called wrongly beside the loss."""
        super().validation_step(batch, batch_idx)
        wrong = (self.classes(batch[0]) != batch[1]).float().mean()
        self.log("val/error", wrong, batch_size=self.batch_size(batch), sync_dist=True)

    @property
    def faults(self) -> tuple[str, ...]:
        """Classes may be mixed up; symbols are no numbers."""
        return ("label_noise",)

    def relabelled(self, batch: Batch, order: Tensor) -> Batch:
        """The batch with the classes in another order."""
        return batch[0], batch[1][order]

    def batch_size(self, batch: Any) -> int:
        """Number of sequences in a batch."""
        return len(batch[1])

    @torch.no_grad()
    def classes(self, symbols: Tensor) -> Tensor:
        """The likeliest class (B,) of symbols (B, T)."""
        called: Tensor = self.net(symbols.to(self.device)).argmax(-1)
        return called
