"""A moving average of the norms that were left after clipping."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradclip_core.checks import check_decay, check_finite
from gradclip_core.parts.host_step import HostParts
from gradclip_core.parts.norms import Parts
from gradclip_core.thresholds.base import Statistic, Threshold
from gradclip_core.thresholds.recurrence import newest_weight


class ClippedEma(Statistic):
    """A multiple of the moving average of the norms after clipping, before this step.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipNorm, ClippedEma
        >>> clipper = ClipNorm(ClippedEma(1.5), eps=0)
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> for norm in (1.0, 9.0, 1.0):
        ...     weight.grad = torch.tensor([norm])
        ...     report = clipper([weight])
        >>> print(f"{report.threshold:.2f}")
        1.88

    tau = factor * S with S <- b S + (1 - b) n', corrected for the start by 1 - b^t, and n' the
    norm that the step has left, whatever response, band and budget made of it; inf at the first
    step. Source: Li, Wu and Chang 2026, arXiv:2601.11864 (AGGC), whose average begins at zero
    without a correction. `Ema` takes in the norm as it was, up to a cap.

    Args:
        factor: multiple of the average, > 0. With a factor of at most 1 the average can only fall
            to zero: that takes a `Band` with min_factor > 0.
        decay: b, the weight of the past: 0.95 looks back about 20 steps.

    A norm that is zero or not finite stays out. State: 2 numbers of 8 bytes for each part. Raises
    ValueError for values out of range.
    """

    mean: Tensor
    count: Tensor

    def __init__(self, factor: float = 1.5, decay: float = 0.95) -> None:
        super().__init__()
        self.factor = check_finite("factor", factor)
        self.decay = check_decay("decay", decay)
        self._declare("mean", 0.0)
        self._declare("count", 0)

    def forward(self, parts: Parts) -> Tensor:
        """Return the thresholds, (k,)."""
        self._allocate(parts)
        return torch.where(self.count == 0, math.inf, self.factor * self.mean)

    def host_thresholds(self, parts: HostParts) -> float:
        """Return the threshold of the only part."""
        mean, count = self._numbers()
        return self.factor * float(mean[0]) if count[0] else math.inf

    def settle(self, parts: Parts, left: Tensor) -> None:
        """Take in the norms after clipping, (k,)."""
        count = self.count + 1
        weight = newest_weight(self.decay, count.to(left.dtype))
        usable = parts.usable & left.isfinite() & (left > 0)
        self._take(usable, mean=self.mean + weight * (left - self.mean), count=count)

    def host_settle(self, left: float) -> None:
        """Take in the norm of the only part after clipping."""
        if left > 0:
            mean, count = self._numbers()
            count[0] += 1
            mean[0] += newest_weight(self.decay, float(count[0])) * (left - mean[0])


def refuse_falling(threshold: Threshold, least: float = 0.0) -> None:
    """Raise ValueError for an average after clipping that could only fall, to zero in the end.

    least: the least factor that the rule gives a part.
    """
    for part in threshold.modules():
        if isinstance(part, ClippedEma) and part.factor <= 1 and not least:
            raise ValueError(
                "factor must be > 1 in ClippedEma, or the factor of one step limited by "
                f"band=Band(min_factor=...), or the average only falls; got {part.factor:g}"
            )
