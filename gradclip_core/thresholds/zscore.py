"""ZClip: thresholds from the z-score of a norm."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias, get_args

from torch import Tensor

from gradclip_core.checks import (
    check_choice,
    check_decay,
    check_finite,
    check_flag,
    check_integer,
    check_positive,
    renamed_arguments,
)
from gradclip_core.thresholds.base import SD_FLOOR
from gradclip_core.thresholds.ema import moved
from gradclip_core.thresholds.recurrence import (
    Recurrence,
    either,
    hypot,
    maximum,
    minimum,
    real,
    where,
)

Mode: TypeAlias = Literal["adaptive_scaling", "mean", "percentile"]


@renamed_arguments(z="deviations", warmup="warmup_steps", patience="max_spikes")
class ZScore(Recurrence):
    """The rule of ZClip: norms many standard deviations over their mean are spikes.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipNorm, ZScore
        >>> clipper = ClipNorm(ZScore(2.5, warmup_steps=3, cap=None))
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> for norm in (1.0, 1.2, 1.1, 9.0):
        ...     weight.grad = torch.tensor([norm])
        ...     report = clipper([weight])
        >>> print(f"{report.threshold:.2f}")
        1.11

    With z = `deviations` and s = max(sd, mu / 1000), n is a spike where n > mu + z * s, and then
    adaptive_scaling: tau = factor * (mu + (z * s)^2 / (n - mu)), which falls as n grows;
    mean: tau = mu; percentile: tau = mu + z * s. Otherwise n is left alone, and mu + z * s is
    reported. Then, with x = min(n, tau): mu <- a * mu + (1 - a) * x and
    sd^2 <- a * sd^2 + (1 - a) * (x - mu)^2. The first `warmup_steps` norms give mu and sd as their
    mean and standard deviation. Source: Kumar, Owen, Roy Chowdhury and Gura 2025,
    arXiv:2504.02507, and its code.

    Args:
        deviations: z, > 0.
        decay: a.
        mode: what becomes of a spike: "adaptive_scaling", "mean" or "percentile", as above.
        factor: of adaptive_scaling, > 0.
        warmup_steps: norms to see first, >= 1.
        cap: largest threshold of all, in the warm-up too (the source's `max_grad_norm`); None:
            none.
        skip_update_on_spike: whether spikes stay out of mu and sd.
        max_spikes: from this many spikes in a row on, they enter mu and sd as they are, still
            clipped, so that a lasting new level is not clipped for ever; None: never.

    Unlike the source: s has a floor in place of 1e-6 in a divisor, and there is `max_spikes`.
    State: 4 numbers of 8 bytes for each part. Raises ValueError for values out of range.
    """

    mean: Tensor
    sd: Tensor
    count: Tensor
    streak: Tensor

    def __init__(
        self,
        deviations: float = 2.5,
        decay: float = 0.97,
        mode: Mode = "adaptive_scaling",
        factor: float = 1.0,
        warmup_steps: int = 25,
        cap: float | None = 1.0,
        skip_update_on_spike: bool = False,
        max_spikes: int | None = 25,
    ) -> None:
        super().__init__()
        self.deviations = check_finite("deviations", deviations)
        self.decay = check_decay("decay", decay)
        self.mode = check_choice("mode", mode, get_args(Mode))
        self.factor = check_finite("factor", factor)
        self.warmup_steps = check_integer("warmup_steps", warmup_steps)
        self.cap = None if cap is None else check_positive("cap", cap)
        self.skip_update_on_spike = check_flag("skip_update_on_spike", skip_update_on_spike)
        self.max_spikes = None if max_spikes is None else check_integer("max_spikes", max_spikes)
        self._declare("mean", 0.0)
        self._declare("sd", 0.0)
        self._declare("count", 0)
        self._declare("streak", 0)

    def advance(
        self, norm: Any, *, mean: Any, sd: Any, count: Any, streak: Any
    ) -> tuple[Any, dict[str, Any]]:
        """The threshold, and the state after this norm."""
        distance = self.deviations * maximum(sd, SD_FLOOR * mean)
        boundary, warm = mean + distance, count < self.warmup_steps
        spike = where(warm, False, norm > boundary)
        (threshold,) = either(
            spike, lambda: (self._bound(norm, mean, distance),), lambda: (boundary,)
        )
        threshold = where(warm, math.inf, threshold)
        streak = where(spike, streak + 1, 0)
        resisted = spike
        if self.max_spikes is not None:
            resisted = where(streak < self.max_spikes, spike, False)
        values = self._learnt(where(resisted, minimum(norm, threshold), norm), mean, sd, count)
        if self.skip_update_on_spike:
            old = {"mean": mean, "sd": sd, "count": count}
            values = {name: where(resisted, old[name], new) for name, new in values.items()}
        capped = threshold if self.cap is None else where(threshold > self.cap, self.cap, threshold)
        return capped, values | {"streak": streak}

    def _bound(self, norm: Any, mean: Any, distance: Any) -> Any:
        """The thresholds of spikes; `distance` is z * s."""
        if self.mode == "mean":
            return mean
        if self.mode == "percentile":
            return mean + distance
        # The quotient first: the square of a large distance would overflow.
        beyond = where(norm > mean, norm - mean, 1.0)
        return self.factor * (mean + distance * (distance / beyond))

    def _learnt(self, entry: Any, mean: Any, sd: Any, count: Any) -> dict[str, Any]:
        mean, sd = either(
            count < self.warmup_steps,
            lambda: moved(mean, sd, entry, 1.0 / real(count + 1, entry)),
            lambda: self._later(entry, mean, sd),
        )
        return {"mean": mean, "sd": sd, "count": count + 1}

    def _later(self, entry: Any, mean: Any, sd: Any) -> tuple[Any, Any]:
        later = self.decay * mean + (1 - self.decay) * entry
        # The source measures the deviation from the new mean.
        return later, hypot(math.sqrt(self.decay) * sd, math.sqrt(1 - self.decay) * (entry - later))
