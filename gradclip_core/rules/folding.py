"""A clipper's step with its factor, the loss scale and the guard's skip left to the optimizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer

from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.selection import Selected
from gradclip_core.report import ClipReport
from gradclip_core.rules.rule import Rule
from gradclip_core.stepping.fused_scale import FusedScale


class Folding:
    """What a clipper of one part holds while a fused optimizer scales its gradients."""

    def __init__(self, optimizer: Optimizer, scaler: GradScaler | None) -> None:
        self._fused = FusedScale(optimizer, scaler)

    @torch.no_grad()
    def begin(self, rule: Rule, gradients: Gradients) -> None:
        """Forget what an earlier call has left to a step, and note the loss scale left to this one.

        Thresholds that are not `on_host` may look at the gradients, and "zero" changes them.
        """
        keeps = rule.threshold.on_host and rule.guard.policy != "zero"
        keeps = keeps and rule._given_norm is None  # which is that of the gradients to be used
        gradients.loss_scale = self._fused.begin(gradients, keep_scale=keeps)

    def scale(self, gradients: Gradients, factor: float | Tensor, *, finite: Tensor | bool) -> bool:
        """Leave the loss scale to the optimizer's step, and the factor, if it takes it."""
        self._fused.settle(finite)
        return self._fused.scale(gradients, factor)

    def settle(self) -> None:
        """Leave the loss scale of finite gradients to the step."""
        self._fused.settle(True)

    def full_step(
        self, rule: Rule, selected: Selected, step: Callable[[Selected], ClipReport]
    ) -> ClipReport:
        """The full step of a rule; without a read on CUDA, where the optimizer can skip it."""
        gradients = selected.every
        self.begin(rule, gradients)
        if gradients.grads and self._skips(rule, gradients):
            return self._unread_step(rule, gradients)
        report = step(selected)
        self._fused.settle(report.norms.isfinite().all())
        return report

    def _skips(self, rule: Rule, gradients: Gradients) -> bool:
        """Whether the optimizer is to skip a step that is not finite."""
        may = rule.guard.can_wait(gradients.device) and rule.threshold.on_host
        return may and not rule.may_drop and self._fused.skips(gradients)

    def _unread_step(self, rule: Rule, gradients: Gradients) -> ClipReport:
        rule._follow(gradients)
        parts, each = rule._measure(gradients)
        finite = parts.norms.isfinite().all()
        self._fused.settle(finite)
        self._fused.skip_unless(finite)
        rule.guard.count_unread(finite)
        report = replace(rule._untouched(parts, each), skipped=~finite)
        report = rule._clip(parts, gradients, report)
        skipped = replace(
            report,
            over=report.over & finite,
            thresholds=torch.where(finite, report.thresholds, torch.inf),
            clipped_norms=torch.where(finite, report.clipped_norms, report.norms),
        )
        return rule._counted(skipped)

    def remove(self) -> None:
        """Leave the optimizer alone from now on."""
        self._fused.remove()
