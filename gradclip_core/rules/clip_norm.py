"""Clipping by norm: each part of the gradient is scaled, so that its direction is kept."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer

from gradclip_core.checks import check_choice, check_finite, check_integer, check_number
from gradclip_core.guards import Policy
from gradclip_core.parts import factors
from gradclip_core.parts.collect import collect
from gradclip_core.parts.each_norm import Each, EachNorm
from gradclip_core.parts.gradients import Gradients, Parameters
from gradclip_core.parts.measure import part_sizes
from gradclip_core.parts.norms import By, Measure, Parts
from gradclip_core.parts.one_norm import OneNorm, Whole
from gradclip_core.parts.responses import scale
from gradclip_core.parts.selection import Selected
from gradclip_core.report import ClipReport
from gradclip_core.rules.rule import Rule
from gradclip_core.stepping.fused_scale import FusedScale, folds
from gradclip_core.thresholds import Threshold, as_threshold

Response: TypeAlias = Literal["hard", "soft", "tanh", "huber", "normalize", "skip"]
Budget: TypeAlias = Literal["each", "equal", "size"]


class ClipNorm(Rule):
    """Scales each part of the gradient down to a norm of at most `max_norm`.

    g_P <- g_P * tau / (n_P + eps) where n_P = ||g_P||_p > tau, unchanged otherwise, so that the
    direction within a part is kept. Sources: Mikolov 2012 (thesis); Pascanu, Mikolov and Bengio
    2013, arXiv:1211.5063, algorithm 1. With `by="parameter"` it is Keras' `clipnorm`, with
    `measure="rms"` too Optax' `clip_by_block_rms`, with `by="row"` and `Relative(0.01)` AGC.

    max_norm: the threshold tau: a number > 0, or a `Threshold` such as `Percentile(10)`.
    response: what happens to a part of norm n.
        "hard": as above. "soft": times tau / (tau + n) (Zhang et al. 2020, arXiv:1905.11881).
        "tanh": to the norm tau * tanh(n / tau). "huber": times (1 + (n / tau)^q)^(-1/q), which
        tends to "hard" as q = `sharpness` grows. "normalize": to exactly the norm tau, also from
        below; zero stays zero (normalised SGD, Cutkosky and Mehta 2020, arXiv:2002.03305).
        "skip": if any part is over its threshold all gradients of the step are removed, as the
        guard does, so that the optimizer does nothing (Chen et al. 2018, arXiv:1804.09849). It
        costs one host read on CUDA.
        All but "hard" and "skip" act below the threshold too; "clipped" in reports always means
        n > tau.
    sharpness: q > 0 of the response "huber"; 2 to 8 are usual.
    max_skips: after so many skipped steps in a row the response "skip" clips hard, until a step
        passes below its threshold; None skips any number.
    budget: how parts share tau. "each": every part may have it. "equal": tau / K^(1/p) for each
        of the K parts that have gradients; "size": tau * (D_P / D)^(1/p) for a part with D_P of
        the D elements; both keep the norm of the whole below a tau that is the same for all
        parts (DP-SGD by layer; McMahan et al. 2018, arXiv:1710.06963). Only with measure="norm".
    eps: added to the norm where the hard response divides. The default is PyTorch's, so that
        results agree with `torch.nn.utils.clip_grad_norm_`; 0 is exact, as in Optax and Keras.

    Under the policy `pass` an infinite norm makes finite elements 0 and infinite ones NaN, and a
    NaN norm makes all NaN, as PyTorch does. Other arguments and errors: see `Rule`.
    """

    consecutive_skips: Tensor

    def __init__(
        self,
        max_norm: float | Threshold,
        *,
        by: By = "model",
        norm_type: float = 2.0,
        measure: Measure = "norm",
        response: Response = "hard",
        sharpness: float = 4.0,
        max_skips: int | None = None,
        budget: Budget = "each",
        eps: float = 1e-6,
        exclude: str | None = None,
        min_ndim: int = 0,
        nonfinite: Policy = "skip",
        patience: int | None = None,
    ) -> None:
        super().__init__(
            as_threshold("max_norm", max_norm),
            by=by,
            norm_type=norm_type,
            measure=measure,
            exclude=exclude,
            min_ndim=min_ndim,
            nonfinite=nonfinite,
            patience=patience,
        )
        self._fused_scale: FusedScale | None = None
        self._skipped: Tensor | None = None  # whether the step to come is, where that is not read
        self.eps = check_number("eps", eps, "a finite number >= 0", lambda x: 0 <= x < math.inf)
        self.response = check_choice("response", response, get_args(Response))
        self.sharpness = check_finite("sharpness", sharpness)
        self.budget = check_choice("budget", budget, get_args(Budget))
        if budget != "each" and measure != "norm":
            raise ValueError(f"budget must be 'each' with measure={measure!r}, got {budget!r}")
        self.max_skips = _check_max_skips(max_skips, response)
        self.changes_below_threshold = response in ("soft", "tanh", "huber", "normalize")
        if response == "skip":
            self.register_buffer("consecutive_skips", torch.zeros((), dtype=torch.int64))

    def limits(self, parts: Parts) -> Tensor:
        """The threshold of each part, (k,): its share of the budget."""
        thresholds = super().limits(parts)
        if self.budget == "each":
            return thresholds
        sizes = part_sizes(parts.gradients, parts.partition)
        sizes = sizes if self.budget == "size" else (sizes > 0).to(sizes.dtype)
        shares = sizes / sizes.sum().clamp(min=1)
        # A part without a gradient has no share, and no need of one: inf * 0 would be NaN.
        return torch.where(sizes > 0, thresholds * shares ** (1 / self.norm_type), thresholds)

    def drops(self, over: Tensor) -> bool:
        """Whether to skip the step; counts the skips in a row."""
        if self.response != "skip":
            return False
        if not over.any():
            self.consecutive_skips.zero_()
            return False
        if self.max_skips is not None and self.consecutive_skips.item() >= self.max_skips:
            return False
        self.consecutive_skips += 1
        return True

    def fast_step(self, gradients: Gradients) -> OneNorm | EachNorm | None:
        """The hard response in few operations; a subclass may respond otherwise."""
        if type(self) is not ClipNorm or self.response != "hard" or self.budget != "each":
            return None
        threshold: Any = self._modules["threshold"]  # past nn.Module's way, which is slow
        if self.by == "model" and threshold.takes_numbers:
            return self._by_one_norm(gradients, threshold)
        if self.by in ("parameter", "row") and threshold.takes_each:
            return self._by_each_norm(gradients, threshold)
        return None

    def _by_one_norm(self, gradients: Gradients, threshold: Threshold) -> OneNorm | None:
        scale = self._begin(gradients)
        whole = Whole(gradients)
        norm, each = whole.norms(self.norm_type)
        if not norm < math.inf:
            return None
        if scale is not None and self._fused_scale is not None:
            each = torch.as_tensor(each, dtype=torch.float64) / scale
            norm = norm / scale.item()
            self._fused_scale.settle(torch.tensor(True))
        limit, factor, folded = threshold.scalar_threshold(norm), 1.0, False
        if norm > limit:
            factor = limit / (norm + self.eps)
            folded = self._folded(gradients, factor)
            if not folded:
                whole.scale(factor)
        found = gradients.present, gradients.names, self.norm_type, folded
        return OneNorm(norm, norm * factor, limit, each, *found)

    def _by_each_norm(self, gradients: Gradients, threshold: Threshold) -> EachNorm | None:
        each = Each(gradients, self.norm_type, by_row=self.by == "row")
        largest, norms = each.norms()
        if not largest < math.inf:
            return None
        limits = threshold.host_thresholds(each)
        factors = each.clip(norms, limits, self.eps)
        return EachNorm(norms, limits, factors, each.heights, gradients.names, self.norm_type)

    def fold_into(self, optimizer: Optimizer, scaler: GradScaler | None = None) -> bool:
        """Let a fused Adam, AdamW, SGD or Adagrad scale the gradients in its step; see
        `FusedScale`.

        scaler: the GradScaler of the loop: the clipper comes without `scaler.unscale_` then.
        Returns whether it will, which takes one part (`by="model"`, nothing excluded) and an
        optimizer that is fused in every group. Step by step it is done in place all the same
        where the optimizer would go wrong (`FusedScale.takes`) and where few gradients are scaled
        quicker by the compiled kernel; `path` in the report says which.
        Between the call and `step()` the gradients are as they were. On CUDA `nonfinite="skip"`
        reads nothing then, if the threshold has a `scalar_threshold`.
        """
        one_part = self.by == "model" and self.select.takes_all
        if not one_part or not folds(optimizer):
            return False
        if self._fused_scale is not None:
            self._fused_scale.remove()
        self._fused_scale = FusedScale(optimizer, scaler)
        return True

    @torch.no_grad()
    def clip_with_norm(self, parameters: Parameters, norm: Tensor | float) -> ClipReport:
        """Clip with a norm from outside, of which the gradients at hand are only a part.

        norm: that of the whole unscaled gradient, 0-d, for stages of a pipeline, for experts: all
            processes that call with the same norm scale, or skip, alike. See
            `functional.get_total_norm`, whose `group` is the processes.

        Raises ValueError unless the rule is of gradients, `by="model"` and `measure="norm"`.
        """
        if self.by != "model" or self.measure != "norm" or type(self).forward is not Rule.forward:
            raise ValueError(
                "a norm from outside is one number for gradients: it needs by='model', "
                f"measure='norm'; got {self.by!r}, {self.measure!r} in {type(self).__name__}"
            )
        self._given_norm = torch.as_tensor(norm, dtype=torch.float64).detach().view(1)
        try:
            report = self._full_step(self.select(collect(parameters)))
        finally:
            self._given_norm = None
        self._keep(report)
        return report

    def detach(self) -> None:
        """Take back every hook that `attach` and `fold_into` placed."""
        super().detach()
        if self._fused_scale is not None:
            self._fused_scale.remove()
            self._fused_scale = None

    def respond(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """Scale the parts by the factors of the response."""
        by = self.factors(parts.norms, thresholds)
        folded = parts.partition.is_model and self._folded(parts.gradients, by[0])
        self.path = "folded" if folded else type(self).path
        if not folded:
            scale(parts, by)
        return parts.norms * by

    def _folded(self, gradients: Gradients, factor: float | Tensor) -> bool:
        """Leave the factor to the optimizer's step, if it takes it."""
        return self._fused_scale is not None and self._fused_scale.scale(gradients, factor)

    def _begin(self, gradients: Gradients) -> Tensor | None:
        """Forget what an earlier call has left to a step; the loss scale that is left to this one.

        Thresholds without a `scalar_threshold` may look at the gradients, and "zero" changes them.
        """
        if self._fused_scale is None:
            return None
        keeps = self.threshold.takes_numbers and self.guard.policy != "zero"
        keeps = keeps and self._given_norm is None  # which is that of the gradients to be used
        with torch.no_grad():
            return self._fused_scale.begin(gradients, keep_scale=keeps)

    def _measure(self, gradients: Gradients) -> tuple[Parts, Tensor]:
        scale = self._begin(gradients)
        parts, each = super()._measure(gradients)
        if scale is None or self._fused_scale is None:
            return parts, each
        self._fused_scale.settle(parts.norms.isfinite().all())
        scale = scale.to(parts.norms)
        return replace(parts, norms=parts.norms / scale), each / scale

    def _guarded(self, selected: Selected) -> tuple[Parts, ClipReport, bool]:
        """Guard in the optimizer's step, without a host read, where that can be."""
        self._skipped = None
        if self._fused_scale is None or not self._skips_in_step(selected.every):
            return super()._guarded(selected)
        parts, each = self._measure(selected.chosen)
        finite = parts.norms.isfinite().all()
        self._fused_scale.skip_unless(finite)
        self.guard.count_unread(finite)
        self._skipped = ~finite
        return parts, replace(self._untouched(parts, each), skipped=self._skipped), False

    def _skips_in_step(self, gradients: Gradients) -> bool:
        """Whether a step that is not finite can be skipped where it is made."""
        can_wait = self.guard.can_wait(gradients.device) and self.response != "skip"
        fused = self._fused_scale if can_wait and self.threshold.takes_numbers else None
        return fused is not None and fused.skips(gradients)

    def _clip(self, parts: Parts, every: Gradients, report: ClipReport) -> ClipReport:
        report = super()._clip(parts, every, report)
        if self._skipped is None:
            return report
        return replace(
            report,
            over=report.over & ~self._skipped,
            thresholds=torch.where(self._skipped, torch.inf, report.thresholds),
            clipped_norms=torch.where(self._skipped, report.norms, report.clipped_norms),
        )

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_fused_scale": None, "_skipped": None}

    def factors(self, norms: Tensor, thresholds: Tensor) -> Tensor:
        """By how much parts of these norms are scaled, (k,); differentiable."""
        if self.response == "huber":
            return factors.huber(norms, thresholds, self.sharpness)
        if self.response in factors.SMOOTH:
            return factors.SMOOTH[self.response](norms, thresholds)
        return factors.hard(norms, thresholds, self.eps)


def _check_max_skips(max_skips: int | None, response: str) -> int | None:
    if max_skips is None:
        return None
    check_integer("max_skips", max_skips, others=" or None")
    if response != "skip":
        raise ValueError(f"max_skips must be None with response={response!r}, got {max_skips!r}")
    return max_skips
