"""A band for the norms of a rule: a least norm, and limits on the factor of one step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gradclip_core.checks import check_number
from gradclip_core.parts.host_step import HostParts
from gradclip_core.parts.norms import Parts
from gradclip_core.short_help import ShortHelpModule
from gradclip_core.thresholds import Fixed, Scheduled, Threshold
from gradclip_core.thresholds.recurrence import minimum, where

# A larger factor would make float32 gradients infinite.
_LARGEST = torch.finfo(torch.float32).max


class Band(ShortHelpModule):
    """A least norm, up to which parts are lifted, and limits on the factor of one step.

    Examples:
        >>> import torch
        >>> from gradclip_core import Band, ClipNorm
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> clipper = ClipNorm(2.0, band=Band(lower=0.5))
        >>> for size in (0.1, 1.5, 9.0):
        ...     weight.grad = torch.tensor([0.0, size])
        ...     print(f"{clipper([weight]).clipped_norm:.2f}")
        1.00
        1.50
        2.00

    With tau the threshold of a part, n its norm and s the factor of the rule's response: where
    s n < L = min(tau, max(min_norm, lower tau)) the factor is L / n instead; then it is brought
    between `min_factor` and `max_factor`. So the norm lies in [L, tau] after the hard response,
    unless a limit on the factor binds. A norm that is zero or not finite is not lifted, and
    while there is no threshold yet (tau = inf) `min_norm` alone is. Source: Li, Wu and Chang
    2026, arXiv:2601.11864 (AGGC).

    Args:
        lower: share of the threshold below which a part is lifted, from 0 to 1; 0: none. Or a
            `Scheduled` number, for a share that depends on the step.
        min_norm: the least norm whatever the threshold, a finite number >= 0; a lower threshold
            wins.
        min_factor: the least factor of one step, from 0 to 1. Over 0 a large norm is brought
            down by so much at most, and stays over its threshold.
        max_factor: the largest factor of one step, >= 1; inf: none.

    A lift counts as no clip in the report; `lifted_share` tells of it. State: that of `lower`.
    Raises ValueError for values out of range.
    """

    def __init__(
        self,
        lower: float | Scheduled = 0.0,
        min_norm: float = 0.0,
        min_factor: float = 0.0,
        max_factor: float = math.inf,
    ) -> None:
        super().__init__()
        share = "from 0 to 1"
        self.lower = _as_share(lower)
        self.min_norm = check_number(
            "min_norm", min_norm, "a finite number >= 0", lambda x: 0 <= x < math.inf
        )
        self.min_factor = check_number("min_factor", min_factor, share, lambda x: 0 <= x <= 1)
        self.max_factor = check_number("max_factor", max_factor, "a number >= 1", lambda x: x >= 1)

    @property
    def lifts(self) -> bool:
        """Whether it may make a norm larger."""
        return self.max_factor > 1 and (self.lower is not None or self.min_norm > 0)

    def forward(self, parts: Parts, thresholds: Tensor, factors: Tensor) -> Tensor:
        """The factors of the parts, (k,), from those of the response; takes one step."""
        share = 0.0 if self.lower is None else self.lower(parts)
        bounded: Tensor = self._bounded(parts.norms, parts.usable, thresholds, factors, share)
        return bounded

    def on_host(self, parts: HostParts, threshold: float, factor: float | None) -> float | None:
        """The same for the only part, None for 1; its norm is finite."""
        share: Any = 0.0 if self.lower is None else self.lower.host_thresholds(parts)
        norm, factor = parts.one_norm(), 1.0 if factor is None else factor
        bounded: float = self._bounded(norm, norm > 0, threshold, factor, share)
        return None if bounded == 1.0 else bounded

    def _bounded(self, norm: Any, usable: Any, threshold: Any, factor: Any, share: Any) -> Any:
        """The factor, for tensors and for plain numbers."""
        least = where(threshold < math.inf, share * threshold, 0.0)
        least = minimum(where(least < self.min_norm, self.min_norm, least), threshold)
        lifts = where(usable, norm * factor < least, False)
        factor = where(lifts, least / where(usable, norm, 1.0), factor)
        factor = where(factor < self.min_factor, self.min_factor, factor)
        most = min(self.max_factor, _LARGEST)
        return where(factor > most, most, factor)

    def extra_repr(self) -> str:
        """The settings, for printing."""
        lower = self.lower.value if isinstance(self.lower, Fixed) else "Scheduled"
        return (
            f"lower={0.0 if self.lower is None else lower}, min_norm={self.min_norm}, "
            f"min_factor={self.min_factor}, max_factor={self.max_factor}"
        )


def _as_share(lower: object) -> Threshold | None:
    allowed = "from 0 to 1, or Scheduled with a number"
    if isinstance(lower, Scheduled):
        if isinstance(lower.threshold, Fixed):
            return lower
        raise ValueError(f"lower must be {allowed}, got Scheduled({lower.threshold})")
    share = check_number("lower", lower, allowed, lambda x: 0 <= x <= 1)
    return Fixed(share) if share else None


def check_band(band: object) -> Band | None:
    """Return a band, or None, unchanged; raise ValueError for anything else."""
    if band is not None and not isinstance(band, Band):
        raise ValueError(f"band must be a Band or None, got {band!r}")
    return band
