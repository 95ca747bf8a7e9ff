"""Clippers: measure the gradient, compare it with a threshold, respond, report."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from gradclip_core import guards, norms
from gradclip_core.gradients import Gradients, Parameters, collect
from gradclip_core.guards import Guard, NonFiniteGradientError, Policy
from gradclip_core.norms import By, Partition, Parts
from gradclip_core.report import ClipReport
from gradclip_core.responses import per_gradient, scale
from gradclip_core.thresholds import Fixed, Threshold, as_threshold


class Clipper(nn.Module):
    """Bounds the gradients of `parameters` in place, once per optimizer step.

    Call it between `backward()` (after accumulation and AMP unscaling) and `step()`. The five
    parts of a rule: the partition `by`, the measure `norm_type`, the `threshold`, the response
    (`respond`, which a subclass defines) and the guard (`nonfinite`, `patience`; see `Guard`).

    by: what shares one threshold: "model", "group" (parameter groups), "module" (first
        component of the name), "parameter", or a mapping of part name to regular expression.
    norm_type: order p of the norm, any number > 0 or inf.

    Parameters without a gradient are passed by, a shared parameter counts once, sparse gradients
    are coalesced. State is in buffers that follow the gradients' device. On CPU gradients are
    written only where a clip binds; on CUDA nothing is read back to the host except where the
    guard needs it.

    Raises ValueError or TypeError at construction for arguments that make no sense.
    """

    steps: Tensor
    clipped_steps: Tensor

    def __init__(
        self,
        threshold: Threshold,
        *,
        by: By = "model",
        norm_type: float = 2.0,
        nonfinite: Policy = "skip",
        patience: int | None = None,
    ) -> None:
        super().__init__()
        self.threshold = threshold
        self.by = norms.check_by(by)
        self.norm_type = norms.check_norm_type(norm_type)
        self.guard = Guard(nonfinite, patience)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("clipped_steps", torch.zeros((), dtype=torch.int64))
        self._partition: tuple[object, Partition] | None = None

    def respond(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """Bound the gradients in place; return the norms that the parts have then, (k,).

        `thresholds` has shape (k,). On CPU it is called only if a part is over its threshold.
        """
        raise TypeError(f"{type(self).__name__} must implement respond(parts, thresholds)")

    @torch.no_grad()
    def forward(self, parameters: Parameters) -> ClipReport:
        """Clip the gradients of a model, optimizer, parameters or named parameters in place.

        Raises NonFiniteGradientError where the guard says so.
        """
        gradients = collect(parameters)
        if not gradients.grads:
            return self._untouched(*self._measure(gradients))
        if self.steps.device != gradients.device:
            self.to(gradients.device)
        parts, report, skip = self._guarded(gradients)
        if not skip:
            report = self._clip(parts, report)
        self.steps += 1
        self.clipped_steps += report.clipped
        return replace(report, clip_rate=self.clipped_steps / self.steps)

    def _measure(self, gradients: Gradients) -> tuple[Parts, Tensor]:
        """The parts with their norms, and the norm of each parameter's gradient."""
        key = [id(param) for param in gradients.params], gradients.names, gradients.groups
        if self._partition is None or self._partition[0] != key:
            self._partition = key, norms.partition(gradients, self.by)
        partition = self._partition[1]
        per_parameter = norms.parameter_norms(gradients, self.norm_type)
        per_part = norms.combine(per_parameter, partition, self.norm_type)
        usable = per_part.isfinite() & (per_part > 0)
        return Parts(per_part, usable, partition, gradients), per_parameter

    def _guarded(self, gradients: Gradients) -> tuple[Parts, ClipReport, bool]:
        """Measure the gradients and apply the policy for those that are not finite."""
        guard = self.guard
        reads_host = guard.reads_host(gradients.device)
        if guard.policy == "zero" and not reads_host:
            guards.zero_nonfinite(gradients)
        parts, per_parameter = self._measure(gradients)
        report = self._untouched(parts, per_parameter)
        if not reads_host:
            return parts, report, False
        finite = bool(parts.norms.isfinite().all())
        if not finite and guard.policy == "raise":
            bad = guards.describe_nonfinite(gradients)
            raise NonFiniteGradientError(f"non-finite gradient in {bad}")
        skip = not finite and guard.policy == "skip"
        if skip:
            guards.drop(gradients)
            report = replace(report, skipped=torch.ones_like(report.skipped))
        elif not finite and guard.policy == "zero":
            guards.zero_nonfinite(gradients)
            parts, per_parameter = self._measure(gradients)
            report = self._untouched(parts, per_parameter)
        guard.count(finite)
        return parts, report, skip

    def _untouched(self, parts: Parts, per_parameter: Tensor) -> ClipReport:
        """The report of a step that changed nothing."""
        return ClipReport(
            norms=parts.norms,
            clipped_norms=parts.norms,
            thresholds=torch.full_like(parts.norms, math.inf),
            parameter_norms=per_parameter,
            skipped=torch.zeros((), dtype=torch.bool, device=parts.norms.device),
            clip_rate=(self.clipped_steps / self.steps.clamp(min=1)).to(parts.norms.device),
            norm_type=self.norm_type,
            names=parts.gradients.names,
        )

    def _clip(self, parts: Parts, report: ClipReport) -> ClipReport:
        thresholds = self.threshold(parts).expand(len(parts.norms))
        # Not "norms > thresholds": under the policy `pass` a NaN has to reach the response.
        over = ~(parts.norms <= thresholds)
        if parts.norms.device.type == "cpu" and not over.any():
            return replace(report, thresholds=thresholds)
        clipped_norms = self.respond(parts, thresholds)
        return replace(report, thresholds=thresholds, clipped_norms=clipped_norms)


class NoClip(Clipper):
    """Measures and never changes a gradient: the unclipped baseline with the same report.

    Non-finite gradients pass through by default, as they do without any clipper.
    """

    def __init__(
        self,
        *,
        norm_type: float = 2.0,
        nonfinite: Policy = "pass",
        patience: int | None = None,
    ) -> None:
        super().__init__(
            Fixed(math.inf), norm_type=norm_type, nonfinite=nonfinite, patience=patience
        )

    def respond(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """Leave the gradients as they are."""
        return parts.norms


class ClipNorm(Clipper):
    """Scales each part of the gradient down to a norm of at most `max_norm`.

    g_P <- g_P * tau / (n_P + eps) where n_P = ||g_P||_p > tau, unchanged otherwise, so that the
    direction within a part is kept. Sources: Mikolov 2012 (thesis); Pascanu, Mikolov and Bengio
    2013, arXiv:1211.5063, algorithm 1. With `by="parameter"` it is Keras' `clipnorm`.

    max_norm: the threshold tau: a number > 0, or a `Threshold` such as `Percentile(10)`.
    eps: added to the norm in the division. The default is PyTorch's, so that results agree with
        `torch.nn.utils.clip_grad_norm_`; 0 is exact, as in Optax and Keras.

    Under the policy `pass` an infinite norm makes finite elements 0 and infinite ones NaN, and a
    NaN norm makes all NaN, as PyTorch does. Other arguments and errors: see `Clipper`.
    """

    def __init__(
        self,
        max_norm: float | Threshold,
        *,
        by: By = "model",
        norm_type: float = 2.0,
        eps: float = 1e-6,
        nonfinite: Policy = "skip",
        patience: int | None = None,
    ) -> None:
        threshold = as_threshold("max_norm", max_norm)
        super().__init__(
            threshold, by=by, norm_type=norm_type, nonfinite=nonfinite, patience=patience
        )
        if isinstance(eps, bool) or not isinstance(eps, (int, float)) or not 0 <= eps < math.inf:
            raise ValueError(f"eps must be a finite number >= 0, got {eps!r}")
        self.eps = float(eps)

    def respond(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """Scale the parts that are over their threshold."""
        over = ~(parts.norms <= thresholds)
        factors = torch.where(over, thresholds / (parts.norms + self.eps), 1.0)
        scale(parts, factors)
        return parts.norms * factors


class ClipValue(Clipper):
    """Clamps every element of the gradient to [-clip_value, clip_value].

    g_i <- max(-c, min(c, g_i)); changes the direction. Equals `torch.nn.utils.clip_grad_value_`
    and Keras' `clipvalue`. The norm measured and reported is the largest magnitude, max |g_i|.

    clip_value: the bound c: a number > 0, or a `Threshold` on the largest magnitude of a part.

    Under the policy `pass` NaN stays NaN and infinities become +-c. Raises TypeError for complex
    gradients, which have no order. Other arguments and errors: see `Clipper`.
    """

    def __init__(
        self,
        clip_value: float | Threshold,
        *,
        by: By = "model",
        nonfinite: Policy = "skip",
        patience: int | None = None,
    ) -> None:
        threshold = as_threshold("clip_value", clip_value)
        super().__init__(
            threshold, by=by, norm_type=math.inf, nonfinite=nonfinite, patience=patience
        )

    def respond(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """Clamp the elements of every gradient."""
        grads = parts.gradients.grads
        if any(grad.is_complex() for grad in grads):
            raise TypeError("ClipValue cannot clamp complex gradients; use ClipNorm")
        spread = per_gradient(parts, thresholds)
        on_cpu = spread.device.type == "cpu"
        bounds = spread.tolist() if on_cpu else spread.unbind()
        for grad, bound in zip(grads, bounds, strict=True):
            # A bound beyond the dtype binds nowhere, and torch refuses it as a number.
            if not on_cpu or bound <= torch.finfo(grad.dtype).max:
                grad.clamp_(-bound, bound)
        return torch.minimum(parts.norms, thresholds)
