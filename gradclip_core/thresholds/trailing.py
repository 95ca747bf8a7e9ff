"""AdaGC: each part against its own recent clipped norm."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gradclip_core.checks import (
    check_decay,
    check_integer,
    check_number,
    check_positive,
    renamed_arguments,
)
from gradclip_core.parts.norms import Parts, total
from gradclip_core.thresholds.recurrence import Recurrence, maximum, minimum, where


@renamed_arguments(relative="factor", warmup="warmup_steps")
class TrailingNorm(Recurrence):
    """The rule of AdaGC: a little more than the moving average of a part's own clipped norms.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipNorm, TrailingNorm
        >>> clipper = ClipNorm(TrailingNorm(warmup_steps=2))
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> for norm in (0.8, 0.9, 9.0):
        ...     weight.grad = torch.tensor([norm])
        ...     report = clipper([weight])
        >>> print(f"{report.threshold:.2f}")
        0.84

    For the first `warmup_steps` norms of part i: tau_i = n_i * min(1, absolute / ||(n_1, ...,
    n_k)||_2), which is global norm clipping, and gamma_i is the least of the clipped norms. After
    that: tau_i = factor * gamma_i and gamma_i <- b * gamma_i + (1 - b) * min(n_i, tau_i). Source:
    Wang et al. 2025, arXiv:2502.11034, for which take `ClipNorm(TrailingNorm(), by="parameter",
    eps=0)`.

    Args:
        factor: multiple of gamma, > 1.
        decay: b.
        warmup_steps: norms of global clipping, >= 1.
        absolute: bound of the global norm there, > 0.
        floor: at the end of the warm-up gamma is at least this share of the mean clipped norm, 0 to
            1; 0 is the source's rule.

    Unlike the source, where one zero gradient in the warm-up makes gamma 0 and freezes the part,
    zero and missing gradients are passed by; `floor` does the same for nearly zero ones, since
    gamma can grow by only (1 - b) * (factor - 1) a step, 0.1 % by default. State: 3 numbers of
    8 bytes for each part. Raises ValueError for values out of range.
    """

    gamma: Tensor
    mean: Tensor
    count: Tensor

    def __init__(
        self,
        factor: float = 1.05,
        decay: float = 0.98,
        warmup_steps: int = 100,
        absolute: float = 1.0,
        floor: float = 0.1,
    ) -> None:
        super().__init__()
        allowed = "a finite number > 1"
        self.factor = check_number("factor", factor, allowed, lambda x: 1 < x < math.inf)
        self.decay = check_decay("decay", decay)
        self.warmup_steps = check_integer("warmup_steps", warmup_steps)
        self.absolute = check_positive("absolute", absolute)
        self.floor = check_number("floor", floor, "from 0 to 1", lambda x: 0 <= x <= 1)
        self._declare("gamma", math.inf)
        self._declare("mean", 0.0)
        self._declare("count", 0)

    def forward(self, parts: Parts) -> Tensor:
        """Return the thresholds, (k,), and take in this step's norms."""
        whole = total(torch.where(parts.usable, parts.norms, 0.0), 2.0)
        return self._advanced(parts, whole=whole)

    def advance(
        self, norm: Any, *, gamma: Any, mean: Any, count: Any, whole: Any = None
    ) -> tuple[Any, dict[str, Any]]:
        """The threshold, and the state after this norm; `whole`: the norm of all parts."""
        whole = norm if whole is None else whole
        share = where(whole <= self.absolute, 1.0, self.absolute / where(whole == 0, 1.0, whole))
        usable = where(norm > 0, norm < math.inf, False)
        warm = count < self.warmup_steps
        threshold = where(usable, norm * share, self.absolute)
        threshold = where(warm, threshold, self.factor * gamma)
        clipped, count = minimum(norm, threshold), count + 1
        mean = where(warm, mean + (clipped - mean) / count, mean)
        least = minimum(gamma, clipped)
        least = where(count == self.warmup_steps, maximum(least, self.floor * mean), least)
        moved = self.decay * gamma + (1 - self.decay) * clipped
        return threshold, {"gamma": where(warm, least, moved), "mean": mean, "count": count}
