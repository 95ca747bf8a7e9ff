"""A schedule over any threshold."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from gradclip_core.checks import check_choice, check_finite, check_integer
from gradclip_core.parts.buffer_view import BufferView
from gradclip_core.parts.host_step import HostParts, Numbers
from gradclip_core.parts.norms import Parts
from gradclip_core.thresholds.base import Threshold, as_threshold
from gradclip_core.thresholds.recurrence import clamp, cos

Shape: TypeAlias = Literal["cosine", "linear"]


class Scheduled(Threshold):
    """A threshold times a factor that depends on the step.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipNorm, Scheduled
        >>> clipper = ClipNorm(Scheduled(1.0, warmup_steps=10, start=5.0))
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> for norm in (3.0, 3.0, 3.0):
        ...     weight.grad = torch.tensor([norm])
        ...     report = clipper([weight])
        >>> print(f"{report.threshold:.2f}")
        4.20

    For t < warmup_steps the factor runs linearly from `start` to 1; then over `decay_steps` from
    1 to `end`, p = (t - warmup_steps) / decay_steps: 1 + (end - 1) * p (linear) or
    1 + (end - 1) * (1 - cos(pi * p)) / 2 (cosine); after that it stays `end`. Steps are counted
    from 0, as calls: a step that the guard skips does not count.

    Args:
        threshold: a number > 0 or a `Threshold`; its statistics know nothing of the factor.
        warmup_steps: length of the warm-up, an integer >= 0; 0 leaves it out.
        start: the factor at its start, a finite number > 0.
        decay_steps: length of the decay, an integer >= 0; 0 leaves it out.
        end: the factor at its end, a finite number > 0.
        shape: of the decay, "cosine" or "linear".

    State: one integer, and the threshold's own. Raises ValueError for values out of range.
    """

    step: Tensor

    def __init__(
        self,
        threshold: float | Threshold,
        warmup_steps: int = 0,
        start: float = 1.0,
        decay_steps: int = 0,
        end: float = 1.0,
        shape: Shape = "cosine",
    ) -> None:
        super().__init__()
        self.threshold = as_threshold("threshold", threshold)
        self.warmup_steps = check_integer("warmup_steps", warmup_steps, 0)
        self.start = check_finite("start", start)
        self.decay_steps = check_integer("decay_steps", decay_steps, 0)
        self.end = check_finite("end", end)
        self.shape = check_choice("shape", shape, get_args(Shape))
        self.on_host = type(self).on_host and self.threshold.on_host
        self.one_part_on_host = self.threshold.one_part_on_host
        self.settles = self.threshold.settles
        self._view = BufferView("step")
        self.register_buffer("step", torch.zeros((), dtype=torch.int64, device="cpu"))

    def forward(self, parts: Parts) -> Tensor:
        """The threshold of this step, (k,) or 0-d."""
        factor = self._factor(self.step.to(parts.norms))
        self.step = self.step + 1
        threshold: Tensor = self.threshold(parts)
        result: Tensor = factor * threshold
        return result

    def host_thresholds(self, parts: HostParts) -> Numbers:
        """The thresholds of this step, (k,) or one number."""
        (step,) = self._view(self._buffers)
        factor: float = self._factor(float(step[0]))
        step[0] += 1
        return factor * self.threshold.host_thresholds(parts)

    def settle(self, parts: Parts, left: Tensor) -> None:
        """Hand on which norms the parts were left with, (k,)."""
        self.threshold.settle(parts, left)

    def host_settle(self, left: float) -> None:
        """Hand on which norm the only part was left with."""
        self.threshold.host_settle(left)

    def _factor(self, step: Any) -> Any:
        """The factor of a step, a number or a 0-d tensor."""
        factor: Any = 1.0
        if self.warmup_steps:
            factor = self.start + (1 - self.start) * clamp(step / self.warmup_steps)
        if self.decay_steps:
            progress = clamp((step - self.warmup_steps) / self.decay_steps)
            if self.shape == "cosine":
                progress = (1 - cos(math.pi * progress)) / 2
            factor = factor * (1 + (self.end - 1) * progress)
        return factor

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return (
            f"warmup_steps={self.warmup_steps}, start={self.start}, "
            f"decay_steps={self.decay_steps}, end={self.end}, shape={self.shape!r}"
        )
