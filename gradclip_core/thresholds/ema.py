"""Exponential moving averages of the norm and of its logarithm."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from gradclip_core.checks import (
    check_decay,
    check_finite,
    check_integer,
    check_number,
    renamed_arguments,
)
from gradclip_core.thresholds.base import SD_FLOOR
from gradclip_core.thresholds.recurrence import (
    Recurrence,
    exp,
    hypot,
    log,
    maximum,
    minimum,
    newest_weight,
    real,
    sqrt,
    where,
)


def moved(mean: Any, sd: Any, value: Any, weight: Any) -> tuple[Any, Any]:
    """The weighted mean and standard deviation after a value that has this share of the weight.

    With weight 1/t they are those of all values, with (1 - b) / (1 - b^t) the bias-corrected
    exponential averages. No square is formed, so that norms of 1e200 do not overflow.
    """
    change = value - mean
    spread = sqrt(weight * (1 - weight)) * change
    return mean + weight * change, hypot(sqrt(1 - weight) * sd, spread)


class Moments(Recurrence):
    """Bias-corrected exponential mean and standard deviation of one number for each part.

    State: 3 numbers of 8 bytes for each part.
    """

    mean: Tensor
    sd: Tensor
    count: Tensor

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = check_decay("decay", decay)
        self._declare("mean", 0.0)
        self._declare("sd", 0.0)
        self._declare("count", 0)

    def _learnt(self, value: Any, mean: Any, sd: Any, count: Any) -> dict[str, Any]:
        """The state after one more value."""
        count = count + 1
        weight = newest_weight(self.decay, real(count, value))
        mean, sd = moved(mean, sd, value, weight)
        return {"mean": mean, "sd": sd, "count": count}


class Ema(Moments):
    """A multiple of the moving average of the norms before this step.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipNorm, Ema
        >>> clipper = ClipNorm(Ema(1.5))
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> for norm in (1.0, 1.0, 9.0):
        ...     weight.grad = torch.tensor([norm])
        ...     report = clipper([weight])
        >>> print(f"{report.threshold:.2f}")
        1.50

    tau = factor * mu + deviations * sd, with x = min(n, entry_cap * tau),
    mu <- (b * mu + (1 - b) * x), both corrected for the start by 1 - b^t, and sd the standard
    deviation under the same weights, at least mu / 1000; inf at the first step. Source of the
    idea: Bengio, Boulanger-Lewandowski and Pascanu 2013, arXiv:1212.0901 (the threshold is the
    mean norm).

    Args:
        factor: multiple of the mean, > 0.
        decay: b, the weight of the past: 0.98 looks back about 50 steps.
        deviations: standard deviations added, >= 0.
        entry_cap: a norm enters the mean as at most this multiple of its threshold. inf is the norm
            as it was (one spike lifts the threshold), 1 the clipped norm (the mean follows a real
            change of level slowly).

    The first norm enters as it is. State: 3 numbers of 8 bytes for each part. Raises ValueError
    for values out of range; factor * entry_cap must be > 1, or the mean could only fall.
    """

    def __init__(
        self,
        factor: float = 1.5,
        decay: float = 0.98,
        deviations: float = 0.0,
        entry_cap: float = 2.0,
    ) -> None:
        super().__init__(decay)
        self.factor = check_finite("factor", factor)
        self.deviations = check_number(
            "deviations", deviations, "a finite number >= 0", lambda number: 0 <= number < math.inf
        )
        least = f"a number > 1 / factor = {1 / self.factor:g}"
        self.entry_cap = check_number(
            "entry_cap", entry_cap, least, lambda number: number * self.factor > 1
        )

    def advance(self, norm: Any, *, mean: Any, sd: Any, count: Any) -> tuple[Any, dict[str, Any]]:
        """The threshold, and the state after this norm."""
        spread = maximum(sd, SD_FLOOR * mean)
        threshold = where(count == 0, math.inf, self.factor * mean + self.deviations * spread)
        entry = minimum(norm, self.entry_cap * threshold)
        return threshold, self._learnt(entry, mean, sd, count)


@renamed_arguments(z="deviations", warmup="warmup_steps")
class LogZScore(Moments):
    """Mean plus `deviations` standard deviations of the logarithm of the norms before this step.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipNorm, LogZScore
        >>> clipper = ClipNorm(LogZScore(4.0, warmup_steps=2))
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> for norm in (1.0, 1.2, 9.0):
        ...     weight.grad = torch.tensor([norm])
        ...     report = clipper([weight])
        >>> print(f"{report.threshold:.2f}")
        1.58

    tau = exp(mu + z * sd), with z = `deviations`, mu and sd the bias-corrected exponential mean
    and standard deviation of min(log n, log tau); inf for the first `warmup_steps` norms. Source:
    Chen et al. 2018, arXiv:1804.09849 (RNMT+), section 4, who abort a step over four deviations.
    Norms are positive and skewed to the right and their logarithm is nearly normal, so that z
    means what it says, and one huge norm moves the mean little.

    Args:
        deviations: z, > 0.
        decay: the weight of the past: 0.99 looks back about 100 steps.
        warmup_steps: norms to see before the first threshold, >= 1.

    The standard deviation is at least 0.001. A spike enters as its threshold: above z = 1 the
    deviation then grows by itself until a lasting new level is let through. State: 3 numbers of
    8 bytes for each part. Raises ValueError for values out of range.
    """

    def __init__(
        self, deviations: float = 4.0, decay: float = 0.99, warmup_steps: int = 25
    ) -> None:
        super().__init__(decay)
        self.deviations = check_finite("deviations", deviations)
        self.warmup_steps = check_integer("warmup_steps", warmup_steps)

    def advance(self, norm: Any, *, mean: Any, sd: Any, count: Any) -> tuple[Any, dict[str, Any]]:
        """The threshold, and the state after this norm."""
        spread = where(sd < SD_FLOOR, SD_FLOOR, sd)
        highest = where(count < self.warmup_steps, math.inf, mean + self.deviations * spread)
        return exp(highest), self._learnt(minimum(log(norm), highest), mean, sd, count)
