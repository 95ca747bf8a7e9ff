"""A quantile followed with one number."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from gradclip_core.checks import check_finite, check_number
from gradclip_core.thresholds.recurrence import Recurrence, exp, real, where


class QuantileTracker(Recurrence):
    """A quantile of the norms, followed with one number: up where a norm is over it.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipNorm, QuantileTracker
        >>> clipper = ClipNorm(QuantileTracker(0.5))
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> for norm in (1.0, 1.0, 9.0):
        ...     weight.grad = torch.tensor([norm])
        ...     report = clipper([weight])
        >>> print(f"{report.threshold:.2f}")
        1.00

    C_{t+1} = C_t * exp(-rate * (b_t - quantile)), b_t = 1 where n_t <= C_t and 0 elsewhere; the
    threshold of step t is C_t. In the long run a share `quantile` of the steps is not clipped.
    Source: Andrew, Thakkar, McMahan and Ramaswamy 2021, arXiv:1905.03871, without the noise
    that makes it private.

    Args:
        quantile: share of the steps to leave alone, between 0 and 1.
        rate: > 0 and <= 1.
        initial: C at the first step, > 0; None takes each part's first norm.

    A norm moves C by its side alone, never by its size, so that no spike can poison it. State:
    one number of 8 bytes for each part. Raises ValueError for values out of range.
    """

    level: Tensor

    def __init__(
        self, quantile: float = 0.5, rate: float = 0.2, initial: float | None = None
    ) -> None:
        super().__init__()
        self.quantile = check_number(
            "quantile",
            quantile,
            "a share > 0 and < 1 (0.1 for a percentile of 10)",
            lambda x: 0 < x < 1,
        )
        self.rate = check_number("rate", rate, "a number > 0 and <= 1", lambda x: 0 < x <= 1)
        self.initial = None if initial is None else check_finite("initial", initial)
        self._declare("level", math.inf if self.initial is None else self.initial)

    def advance(self, norm: Any, *, level: Any) -> tuple[Any, dict[str, Any]]:
        """The threshold, and the level after this norm."""
        usable = where(norm > 0, norm < math.inf, False)
        threshold = where(level == math.inf, where(usable, norm, math.inf), level)
        within = real(norm <= threshold, norm)
        return threshold, {"level": threshold * exp(-self.rate * (within - self.quantile))}
