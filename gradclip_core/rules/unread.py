"""The guard of a step that its optimizer skips by itself: nothing is read from the device."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gradclip_core import guards
from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.norms import Parts
from gradclip_core.parts.selection import Selected
from gradclip_core.report import ClipReport
from gradclip_core.stepping.step_skip import StepSkip

if TYPE_CHECKING:
    from gradclip_core.rules.rule import Rule


def applies(rule: Rule, skip: StepSkip, every: Gradients) -> bool:
    """Whether a step that is not finite can be skipped where it is made."""
    return rule.threshold.on_host and rule.guard.can_wait(every.device) and skip.takes(every)


def guarded(rule: Rule, selected: Selected) -> tuple[Parts, ClipReport, bool]:
    """Measure, and leave it to the optimizer's step to skip itself."""
    parts, each = rule._measure(selected.chosen)
    finite = parts.norms.isfinite().all()
    if selected.rest.grads:
        finite = finite & guards.finite_unread(selected.rest).to(finite.device)
    rule.guard.count_unread(finite)
    rule._skip_step(~finite)
    # No statistic takes in what the optimizer does not.
    parts = replace(parts, usable=parts.usable & finite)
    return parts, replace(rule._untouched(parts, each), skipped=~finite), False
