"""What becomes of a step whose gradients are not finite: decided here, or inside the step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gradclip_core import guards
from gradclip_core.clipper import Clipper
from gradclip_core.guards import Guard, NonFiniteGradientError
from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.norms import Parts
from gradclip_core.parts.selection import Selected
from gradclip_core.report import ClipReport
from gradclip_core.stepping.step_skip import StepSkip
from gradclip_core.thresholds import Threshold


class GuardedClipper(Clipper):
    """A clipper that measures parts and applies the policy of a guard to them.

    Examples:
        >>> from gradclip_core import ClipNorm
        >>> ClipNorm(1.0, nonfinite="raise").guard.policy
        'raise'

    Args:
        guard: what happens to steps that are not finite.
    """

    threshold: Threshold
    steps: Tensor
    may_skip_unread = False  # whether its state is right though a step is skipped only later

    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self.guard = guard
        self._step_skip: StepSkip | None = None
        self._skipped: Tensor | None = None  # whether the step to come is, where that is not read

    def detach(self) -> None:
        """Leave the model and the optimizer alone from now on."""
        super().detach()
        if self._step_skip is not None:
            self._step_skip.release(self)
            self._step_skip = None

    def _share_skip(self, optimizer: Optimizer) -> None:
        """Let the step skip itself, where it can."""
        self._step_skip = StepSkip.shared(optimizer, self) if self.may_skip_unread else None

    def _measure(self, gradients: Gradients) -> tuple[Parts, Tensor]:
        """The parts with their norms, and the norm of each parameter's gradient."""
        raise NotImplementedError

    def _untouched(self, parts: Parts, per_parameter: Tensor) -> ClipReport:
        """The report of a step that changed nothing."""
        raise NotImplementedError

    def _follow(self, gradients: Gradients) -> None:
        """Keep the state on the gradients' device."""
        if self.steps.device != gradients.device:
            if self.steps.is_meta:
                raise ValueError(
                    f"this {type(self).__name__} has clipped on the device meta, where its state "
                    "holds no numbers: make another one for the model that is materialised"
                )
            self.to(gradients.device)

    def _guarded(self, selected: Selected) -> tuple[Parts, ClipReport, bool]:
        """Measure the gradients and apply the policy for those that are not finite."""
        guard, every = self.guard, selected.every
        self._skipped = None
        if self._step_skip is not None:
            self._step_skip.set(self, None)  # of an earlier call
            waits = self.threshold.on_host and guard.can_wait(every.device)
            if waits and self._step_skip.takes(every):
                return self._guarded_unread(selected)
        reads_host = guard.reads_host(every.device)
        if guard.policy == "zero" and not reads_host:
            guards.zero_nonfinite(every)
        parts, per_parameter = self._measure(selected.chosen)
        report = self._untouched(parts, per_parameter)
        if not reads_host:
            return parts, report, False
        finite = bool(_finite(parts, selected))
        if not finite and guard.policy == "raise":
            bad = guards.describe_nonfinite(every)
            raise NonFiniteGradientError(f"non-finite gradient in {bad}")
        skip = not finite and guard.policy == "skip"
        if skip:
            guards.drop(every)
            report = replace(report, skipped=torch.ones_like(report.skipped))
        elif not finite and guard.policy == "zero":
            guards.zero_nonfinite(every)
            parts, per_parameter = self._measure(selected.chosen)
            report = self._untouched(parts, per_parameter)
        guard.count(finite)
        return parts, report, skip

    def _guarded_unread(self, selected: Selected) -> tuple[Parts, ClipReport, bool]:
        """Measure, and leave it to the optimizer's step to skip itself: nothing is read."""
        parts, per_parameter = self._measure(selected.chosen)
        finite = _finite(parts, selected)
        self.guard.count_unread(finite)
        self._skip_step(~finite)
        # No statistic takes in what the optimizer does not.
        parts = replace(parts, usable=parts.usable & finite)
        return parts, replace(self._untouched(parts, per_parameter), skipped=~finite), False

    def _skip_step(self, skipped: Tensor) -> None:
        """Skip the step to come where this is true, 0-d bool, not read."""
        assert self._step_skip is not None
        self._skipped = skipped
        self._step_skip.set(self, skipped)

    def _settle(self, parts: Parts, left: Tensor) -> None:
        """Tell a threshold that wants to know which norms were left, unless the step is skipped."""
        if not self.threshold.settles:
            return
        if self._skipped is not None:
            parts = replace(parts, usable=parts.usable & ~self._skipped)
        self.threshold.settle(parts, left)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_step_skip": None, "_skipped": None}


def _finite(parts: Parts, selected: Selected) -> Tensor:
    """Whether all gradients are finite, those that are left alone too: 0-d bool, not read."""
    finite = parts.norms.isfinite().all()
    if selected.rest.grads:
        finite = finite & guards.finite_unread(selected.rest).to(finite.device)
    return finite
