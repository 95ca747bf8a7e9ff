"""Training a network on texts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from apps.base.task import Optimization, Task
from apps.sentiment.corpus import NEUTRAL, POLARITIES
from apps.sentiment.ridge import Ridge

Batch = tuple[Tensor, Tensor]

# A network's output is a rating divided by this, so that targets have a spread near one.
UNIT = 2.0


class SentimentTask(Task):
    """Minimises the squared error of the rating, or the cross-entropy of the classes.

    polarity_weight: of a second loss beside a rating's, the cross-entropy of its polarity
    (negative, neutral, positive), whose logits the network then gives after the rating.
    Checkpoints are chosen and texts are read by the rating alone.

    ridge: with which the network's answers are averaged. No loss sees it: training, the choice of
    the checkpoint and the check against the untrained network judge the network alone, so that a
    good ridge hides no useless network.
    """

    def __init__(
        self,
        net: nn.Module,
        optimization: Optimization,
        num_classes: int | None,
        polarity_weight: float = 0.0,
        ridge: Ridge | None = None,
    ) -> None:
        super().__init__(net, optimization)
        self.ridge = ridge
        self.num_classes = num_classes
        self.polarity_weight = polarity_weight

    def loss(self, batch: Batch) -> Tensor:
        """The loss of a batch of words (B, L) and targets (B,), 0-d."""
        words, target = batch
        out = self.net(words)
        if self.num_classes is not None:
            return nn.functional.cross_entropy(out, target.long())
        loss = _squared_error(out, target)
        if self.polarity_weight:
            polarity = 1 + (target >= NEUTRAL).long() - (target <= -NEUTRAL).long()
            loss = loss + self.polarity_weight * nn.functional.cross_entropy(out[:, 1:], polarity)
        return loss

    def validation_loss(self, batch: Batch) -> Tensor:
        """The loss without that of the polarity, 0-d."""
        words, target = batch
        if self.num_classes is not None:
            return self.loss(batch)
        return _squared_error(self.net(words), target)

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
        """The network's ratings (B, 1) or the classes' logits (B, K) of texts (B, L).

        On the CPU, in float64.
        """
        out: Tensor = self.net(words.to(self.device)).double().cpu()
        return out[:, :1] * UNIT if self.num_classes is None else out


def num_outputs(num_classes: int | None, polarity_weight: float) -> int:
    """Outputs that a network needs: logits of classes, or a rating and its polarity's logits."""
    if num_classes is not None:
        return num_classes
    return 1 + len(POLARITIES) if polarity_weight else 1


def _squared_error(out: Tensor, target: Tensor) -> Tensor:
    return nn.functional.mse_loss(out[:, 0], target / UNIT)
