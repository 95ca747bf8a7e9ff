"""A clipping rule: measure the gradient, compare it with a threshold, respond, report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradclip_core import guards
from gradclip_core.checks import refuse_former_names
from gradclip_core.guards import Guard, Policy
from gradclip_core.parts import norms, sharding
from gradclip_core.parts.buffer_view import BufferView
from gradclip_core.parts.collect import collect_for_kernel, for_pytorch
from gradclip_core.parts.gradients import Gradients, Parameters
from gradclip_core.parts.host_step import HostStep, Path
from gradclip_core.parts.keys import ParameterKeys
from gradclip_core.parts.measure import check_measure, measure_parts, order_of
from gradclip_core.parts.names import names_of
from gradclip_core.parts.norms import Measure, NormType, Parts
from gradclip_core.parts.partition import By, Partition, check_by, kind_of, partition
from gradclip_core.parts.selection import Selected, Selection
from gradclip_core.report import ClipReport
from gradclip_core.rules.guarded import GuardedClipper
from gradclip_core.rules.settings import spelled_out
from gradclip_core.rules.step_reports import perhaps_skipped, untouched
from gradclip_core.stepping.no_effect import warn_of_no_effect
from gradclip_core.stepping.turns import Turns
from gradclip_core.thresholds import Threshold, claimed, thresholds_of
from gradclip_core.thresholds.kept_rows import refuse_other_kind

# What a fast step stands in for.
_REPLACED = {"limits", "over", "drops", "respond", "factors", "banded", "_scale", "_measure"}
_REPLACED |= {"_guarded", "_full_step", "_clip", "_untouched", "_counted"}

_FORMER = {"acts": "modifies_gradients", "acts_below": "changes_below_threshold"}


class Rule(GuardedClipper):
    """Bounds the gradients of `parameters` in place, once per optimizer step.

    Examples:
        >>> from gradclip_core import Fixed, Rule
        >>> class Measured(Rule):
        ...     def respond(self, parts, thresholds):
        ...         return parts.norms
        >>> Measured(Fixed(1.0), by="parameter").by
        'parameter'

    The five parts of a rule: the partition `by`, the measure (`measure`, `norm_type`), the
    `threshold`, the response (`respond`, which a subclass defines) and the guard (`nonfinite`,
    `patience`; see `Guard`).

    Args:
        threshold: how far the norm of a part may go.
        by: what shares one threshold: "model", "group" (parameter groups), "module" (first
            component of the name), "parameter", "row" (each index of a tensor's first dimension,
            see `gradclip_core.parts.rows`), or a mapping of part name to regular expression.
        norm_type: order p of the norm, any number > 0 or inf.
        measure: "norm"; "rms": norm / D^(1/p) of a part with D elements, the root mean square for
            p = 2; or "spectral": the largest singular value of a tensor as a matrix of len(tensor)
            rows, and of several the largest. Thresholds and reports are on the same scale.
        exclude: regular expression; parameters whose name it matches anywhere are neither measured
            nor clipped (AGC's last layer). Needs names.
        min_ndim: parameters with fewer dimensions are left alone in the same way; 2: biases,
            scales. The guard looks at excluded gradients too.
        nonfinite: what happens to a step whose gradient holds NaN or inf: "skip" removes its
            gradients, "raise" stops and names the parameters, "zero" sets the bad elements to zero,
            "pass" lets them through; see `Guard`.
        patience: number of such steps in a row at which NonFiniteGradientError is raised; None
            bears any number.

    Parameters without a gradient are passed by, a shared parameter counts once, sparse gradients
    are coalesced. State is in buffers that follow the gradients' device. On CPU gradients are
    written only where a clip binds; on CUDA nothing is read back to the host except where the
    guard needs it.

    Raises ValueError or TypeError at construction for arguments that make no sense.
    """

    steps: Tensor
    clipped_steps: Tensor
    skipped_steps: Tensor
    modifies_gradients = True  # whether it changes gradients at all
    path: Path = "in place"  # where it changes them; see `ClipReport`
    measures_gradients = True  # or something made of them
    changes_below_threshold = False  # whether the response changes parts that are not over
    may_drop = False  # whether `drops` may say yes
    has_fast_step = False  # whether `fast_step` still does what the other methods do

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        refuse_former_names(cls, _FORMER)
        # Of fast step and full step the one that was written last has the word.
        last = next(kind for kind in cls.__mro__ if ({"fast_step"} | _REPLACED) & vars(kind).keys())
        cls.has_fast_step = "fast_step" in vars(last)
        if "__init__" in vars(cls):
            cls.__signature__ = spelled_out(cls.__init__, Rule.__init__)  # type: ignore[attr-defined]

    def __init__(
        self,
        threshold: Threshold,
        *,
        by: By = "model",
        norm_type: NormType = 2.0,
        measure: Measure = "norm",
        exclude: str | None = None,
        min_ndim: int = 0,
        nonfinite: Policy = "skip",
        patience: int | None = None,
    ) -> None:
        super().__init__(Guard(nonfinite, patience))
        self.threshold = claimed(threshold, self)
        self.by = check_by(by)
        self.norm_type = norms.check_norm_type(norm_type)
        self.measure = check_measure(measure, self.norm_type, self.by)
        self.select = Selection(exclude, min_ndim, self.by)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64, device="cpu"))
        self.register_buffer("clipped_steps", torch.zeros((), dtype=torch.int64, device="cpu"))
        self.register_buffer("skipped_steps", torch.zeros((), dtype=torch.int64, device="cpu"))
        self._partition: tuple[object, Partition] | None = None
        self._keys = ParameterKeys()
        self._turns = Turns() if threshold.learns else None
        self._given_norm: Tensor | None = None  # (1,), in `ClipNorm.clip_with_norm`
        self._view = BufferView("steps", "clipped_steps", "skipped_steps")

    def attach(self, *, model: nn.Module | None = None, optimizer: Optimizer | None = None) -> Self:
        """Work on this model and this optimizer from now on; returns the clipper itself.

        Warns (UserWarning) where the rule never acts, or cannot bound such an optimizer's step;
        raises ValueError for a pattern that matches none of the model's parameters.
        """
        if model is not None:
            self.select.check(names_of(model))
        super().attach(model=model, optimizer=optimizer)
        if self._optimizer is not None:
            self._share_skip(self._optimizer)
        if self.modifies_gradients:
            # A rule on the step itself bounds it, whatever the optimizer.
            bounded = None if self.acts_in_step else optimizer
            warn_of_no_effect(type(self).__name__, self.threshold, bounded)
        return self

    def respond(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """Bound the gradients in place; return the norms that the parts have then, (k,).

        `thresholds` has shape (k,). On CPU it is called only if a part is over its threshold,
        unless `changes_below_threshold` is true.
        """
        raise TypeError(f"{type(self).__name__} must implement respond(parts, thresholds)")

    def limits(self, parts: Parts) -> Tensor:
        """The threshold of each part, (k,)."""
        return thresholds_of(self.threshold, parts)

    def over(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """Which parts are over their threshold, (k,) bool.

        Not "norms > thresholds": under the policy `pass` a NaN has to reach the response.
        """
        return ~(parts.norms <= thresholds)

    def drops(self, over: Tensor) -> bool:
        """Whether to drop the step's gradients because of the parts that are over; never here."""
        return False

    def fast_step(self, gradients: Gradients) -> HostStep | None:
        """The step in few operations; None, with the gradients unharmed, where that cannot be.

        Called only on CPU, where gradients are plain, none is left alone and the measure is not
        "rms" (where some parameters have none, by the whole model alone); and not in a subclass
        that overrides what it stands in for (`_REPLACED`) after it was written.
        """
        return None

    def forward(self, parameters: Parameters, *, loss: Tensor | None = None) -> ClipReport:
        """Clip the gradients of a model, optimizer, parameters or named parameters in place.

        Raises NonFiniteGradientError where the guard says so.
        """
        gradients = collect_for_kernel(parameters)
        if self._turns is not None:
            self._turns.look(gradients, type(self).__name__, by_model=self.by == "model")
        # The kernel makes no graph, and turning graphs off takes as long as a small gradient.
        report = None if gradients.located is None else self._try_fast(gradients)
        if report is None:
            if not gradients.grads:
                self._found_nothing(parameters)
            report = self._by_pytorch(gradients)
        self._keep(report)
        return report

    @torch.no_grad()
    def _by_pytorch(self, gradients: Gradients) -> ClipReport:
        report = self._try_fast(gradients) if gradients.located is None else None
        return self._full_step(self.select(for_pytorch(gradients))) if report is None else report

    def _try_fast(self, gradients: Gradients) -> ClipReport | None:
        """The whole step in few operations, where that can be."""
        buffers: dict[str, Any] = self._buffers
        plain = gradients.plain and gradients.grads[0].is_cpu and buffers["steps"].is_cpu
        if not plain or self.measure == "rms" or not self.select.takes_all:
            return None
        if not gradients.is_whole and self.by != "model":
            return None
        if sharding.several_processes():
            sharding.refuse_flat(gradients.params)
        step = self.fast_step(gradients) if self.has_fast_step else None
        if step is None:
            return None
        guard: Any = self._modules["guard"]  # past nn.Module's way, which is slow
        guard.passed()
        steps, clipped_steps, skipped_steps = self._view(buffers)
        steps[0] += 1
        clipped_steps[0] += step.clipped
        step.steps, step.clipped_steps = steps[0], clipped_steps[0]
        step.skipped_steps = skipped_steps[0]
        return ClipReport.of_step(step)

    def _full_step(self, selected: Selected) -> ClipReport:
        gradients = selected.every
        if not gradients.grads:
            return self._untouched(*self._measure(selected.chosen))
        self._follow(gradients)
        parts, report, skip = self._guarded(selected)
        if not skip:
            report = self._clip(parts, gradients, report)
        return self._counted(report)

    def _counted(self, report: ClipReport) -> ClipReport:
        """Count a step; its report with the clip rate."""
        self.steps += 1
        self.clipped_steps += report.clipped
        self.skipped_steps += report.skipped
        rate, skipped = self.clipped_steps / self.steps, self.skipped_steps.clone()
        report = replace(report, clip_rate=rate, skipped_steps=skipped)
        self._keep(report)
        return report

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        errors: list[str] = rest[-1]
        # It was not counted before.
        state_dict.setdefault(
            prefix + "skipped_steps", torch.zeros((), dtype=torch.int64, device="cpu")
        )
        errors += refuse_other_kind(state_dict, prefix, kind_of(self.by))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _measure(self, gradients: Gradients) -> tuple[Parts, Tensor]:
        """The parts with their norms, and the norm of each parameter's gradient."""
        # A later parameter may have the id of one that is gone, but another number of rows.
        shapes = [param.shape for param in gradients.params] if self.by == "row" else None
        ids = [id(param) for param in gradients.params]
        key = self.by, ids, gradients.names, gradients.groups, shapes
        if self._partition is None or self._partition[0] != key:
            self._partition = key, partition(gradients, self.by, self._keys(gradients))
        division = self._partition[1]
        order = order_of(self.measure, self.norm_type)
        per_part, per_parameter = measure_parts(
            gradients, division, order, self.measure, self.enough()
        )
        if gradients.loss_scale is not None:
            scale = gradients.loss_scale.to(per_part)
            per_part, per_parameter = per_part / scale, per_parameter / scale
        if self._given_norm is not None:
            per_part = self._given_norm.to(per_part)
        usable = per_part.isfinite() & (per_part > 0)
        parts = Parts(per_part, usable, division, gradients, order, self.measure)
        return parts, per_parameter

    def enough(self) -> float:
        """The norm up to which a bound from above tells all that is needed; 0: none does."""
        return 0.0

    def _untouched(self, parts: Parts, per_parameter: Tensor) -> ClipReport:
        """The report of a step that changed nothing."""
        rate = self.clipped_steps / self.steps.clamp(min=1)
        return untouched(parts, per_parameter, rate, self.skipped_steps)

    def _clip(self, parts: Parts, every: Gradients, report: ClipReport) -> ClipReport:
        thresholds = self.limits(parts)
        over = self.over(parts, thresholds)
        report = replace(report, thresholds=thresholds, over=over & ~parts.norms.isnan())
        if self.drops(over):
            guards.drop(every)
            nothing, yes = torch.zeros_like(parts.norms), torch.ones_like(report.skipped)
            return replace(report, clipped_norms=nothing, skipped=yes)
        on_cpu = parts.norms.device.type == "cpu"
        if on_cpu and not self.changes_below_threshold and not over.any():
            self._settle(parts, parts.norms)
            return report
        left = self.respond(parts, thresholds)
        self._settle(parts, left)
        unchanged = on_cpu and not over.any() and torch.equal(left, parts.norms)
        report = replace(report, clipped_norms=left, path="none" if unchanged else self.path)
        return report if self._skipped is None else perhaps_skipped(report, self._skipped)
