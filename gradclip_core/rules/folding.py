"""A clipper's step with its factor and the loss scale left to the optimizer."""

from __future__ import annotations

from collections.abc import Callable

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
        """The full step of a rule, with the loss scale left to the optimizer."""
        self.begin(rule, selected.every)
        report = step(selected)
        self._fused.settle(report.norms.isfinite().all())
        return report

    def remove(self) -> None:
        """Leave the optimizer alone from now on."""
        self._fused.remove()
