"""Training a network on texts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from apps.task import Optimization, Task

Batch = tuple[Tensor, Tensor]

# A network's output is a rating divided by this, so that targets have a spread near one.
UNIT = 2.0


class SentimentTask(Task):
    """Minimises the squared error of the rating, or the cross-entropy of the classes."""

    def __init__(self, net: nn.Module, optimization: Optimization, num_classes: int | None) -> None:
        super().__init__(net, optimization)
        self.num_classes = num_classes

    def loss(self, batch: Batch) -> Tensor:
        """The loss of a batch of words (B, L) and targets (B,), 0-d."""
        words, target = batch
        out = self.net(words)
        if self.num_classes is None:
            return nn.functional.mse_loss(out.squeeze(-1), target / UNIT)
        return nn.functional.cross_entropy(out, target.long())

    @property
    def faults(self) -> tuple[str, ...]:
        """Labels may be mixed up; ratings are numbers, words and classes are not."""
        return ("outliers", "label_noise") if self.num_classes is None else ("label_noise",)

    def outlying(self, batch: Batch, scale: float) -> Batch:
        """The batch with ratings `scale` times as large."""
        words, target = batch
        return words, scale * target

    def relabelled(self, batch: Batch, order: Tensor) -> Batch:
        """The batch with the targets in another order."""
        words, target = batch
        return words, target[order]

    def batch_size(self, batch: Batch) -> int:
        """Number of texts in a batch."""
        return len(batch[0])

    @torch.no_grad()
    def outputs(self, words: Tensor) -> Tensor:
        """Ratings (B, 1) or the classes' logits (B, K) of texts (B, L), on the CPU in float64."""
        out: Tensor = self.net(words.to(self.device)).double().cpu()
        return out * UNIT if self.num_classes is None else out
