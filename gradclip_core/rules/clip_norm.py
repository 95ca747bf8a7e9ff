"""Clipping by norm: each part of the gradient is scaled, so that its direction is kept."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer

from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.host_step import HostParts, HostStep, Path
from gradclip_core.parts.norms import Parts
from gradclip_core.parts.responses import scale
from gradclip_core.parts.selection import Selected
from gradclip_core.report import ClipReport
from gradclip_core.rules.folding import Folding
from gradclip_core.rules.norm_rule import NormRule
from gradclip_core.stepping.step_hooks import hooked
from gradclip_core.stepping.step_skip import reads_flags


class ClipNorm(NormRule):
    """Scales each part of the gradient down to a norm of at most `max_norm`.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipNorm
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> report = ClipNorm(1.0, eps=0)([weight])
        >>> weight.grad, report.norm.item()
        (tensor([0.6000, 0.8000]), 5.0)

    g_P <- g_P * tau / (n_P + eps) where n_P = ||g_P||_p > tau, unchanged otherwise, so that the
    direction within a part is kept. Sources: Mikolov 2012 (thesis); Pascanu, Mikolov and Bengio
    2013, arXiv:1211.5063, algorithm 1. With `by="parameter"` it is Keras' `clipnorm`, with
    `measure="rms"` too Optax' `clip_by_block_rms`, with `by="row"` and `Relative(0.01)` AGC.

    Args:
        max_norm: the threshold tau: a number > 0, or a `Threshold` such as `Percentile(10)`.
        response: what happens to a part of norm n. "hard": as above. "soft": times tau / (tau + n)
            (Zhang et al. 2020, arXiv:1905.11881). "tanh": to the norm tau * tanh(n / tau). "huber":
            times (1 + (n / tau)^q)^(-1/q), which tends to "hard" as q = `sharpness` grows.
            "normalize": to exactly the norm tau, also from below; zero stays zero (normalised SGD,
            Cutkosky and Mehta 2020, arXiv:2002.03305). "skip": if any part is over its threshold
            all gradients of the step are removed, as the guard does, so that the optimizer does
            nothing (Chen et al. 2018, arXiv:1804.09849). It costs one host read on CUDA. All but
            "hard" and "skip" act below the threshold too; "clipped" in reports always means n >
            tau. Two act on each singular value s of each gradient as a matrix, and need
            measure="spectral": "clamp" brings it to min(s, tau) (Yukhimchuk et al. 2026,
            arXiv:2605.11838), "soft_clamp" to s / sqrt(1 + (s / tau)^2) (Jiang, Semenov and Stich
            2026, arXiv:2603.14315). Singular vectors stay; the direction of the whole does not.
        sharpness: q > 0 of the response "huber"; 2 to 8 are usual.
        max_skips: after so many skipped steps in a row the response "skip" clips hard, until a step
            passes below its threshold; None skips any number.
        budget: how parts share tau. "each": every part may have it. "equal": tau / K^(1/p) for each
            of the K parts that have gradients; "size": tau * (D_P / D)^(1/p) for a part with D_P of
            the D elements; both keep the norm of the whole below a tau that is the same for all
            parts (DP-SGD by layer; McMahan et al. 2018, arXiv:1710.06963). Only with
            measure="norm".
        eps: added to the norm where the hard response divides. The default is PyTorch's, so that
            results agree with `torch.nn.utils.clip_grad_norm_`; 0 is exact, as in Optax and Keras.
        band: a `Band`: a least norm, up to which parts are lifted, and limits on the factor of one
            step. None: none.
        by: what shares one threshold: "model", "group" (parameter groups), "module" (first
            component of the name), "parameter", "row" (each index of the first dimension), or a
            mapping of part name to regular expression.
        norm_type: order p of the norm, any number > 0 or inf.
        measure: "norm"; "rms": norm / D^(1/p) of a part with D elements, the root mean square for
            p = 2; or "spectral": the largest singular value of a tensor as a matrix of len(tensor)
            rows, and of several the largest.
        exclude: regular expression; parameters whose name it matches anywhere are neither measured
            nor clipped. Needs names.
        min_ndim: parameters with fewer dimensions are left alone in the same way; 2: biases,
            scales.
        nonfinite: what happens to a step whose gradient holds NaN or inf: "skip" removes its
            gradients, "raise" stops and names the parameters, "zero" sets the bad elements to zero,
            "pass" lets them through; see `Guard`.
        patience: number of such steps in a row at which NonFiniteGradientError is raised; None
            bears any number.

    Under the policy `pass` an infinite norm makes finite elements 0 and infinite ones NaN, and a
    NaN norm makes all NaN, as PyTorch does.
    """

    may_skip_unread = True
    _folding: Folding | None = None

    def fold_into(self, optimizer: Optimizer, scaler: GradScaler | None = None) -> bool:
        """Let a fused Adam, AdamW, SGD or Adagrad scale the gradients in its step; see
        `FusedScale`.

        scaler: the GradScaler of the loop: the clipper comes without `scaler.unscale_` then.
        Returns whether it will, which takes one part (`by="model"`, nothing excluded) and an
        optimizer that is fused in every group. Step by step it is done in place all the same
        where the optimizer would go wrong (`FusedScale.takes`) and where few gradients are scaled
        quicker by the compiled kernel; `path` in the report says which.
        Between the call and `step()` the gradients are as they were. On CUDA `nonfinite="skip"`
        reads nothing then, if the threshold is `on_host`.
        """
        hooked(optimizer)  # raises TypeError for what is none
        if not isinstance(scaler, GradScaler | None):
            raise TypeError(f"scaler must be a GradScaler or None, got {type(scaler).__name__}")
        one_part = self.by == "model" and self.select.takes_all and not self.clamps
        if not one_part or not reads_flags(optimizer):
            return False
        self._unfold()
        self._folding = Folding(optimizer, scaler)
        self._share_skip(optimizer)
        return True

    def detach(self) -> None:
        """Take back every hook that `attach` and `fold_into` placed."""
        super().detach()
        self._unfold()

    def _unfold(self) -> None:
        if self._folding is not None:
            self._folding.remove()
            self._folding = None

    def fast_step(self, gradients: Gradients) -> HostStep | None:
        """The hard response, of one factor or by parameter or row, in few operations.

        With a band of one factor alone.
        """
        if self.measure == "spectral":
            return self._under_bound(gradients)
        threshold: Any = self._modules["threshold"]  # past nn.Module's way, which is slow
        one = self.by == "model"
        if self.response != "hard" or self.budget != "each" or not threshold.on_host:
            return None
        band: Any = self._modules.get("band")
        several_on_host = self.by in ("parameter", "row") and band is None
        if not one and (threshold.one_part_on_host or not several_on_host):
            return None
        folding = self._folding
        if folding is not None:
            folding.begin(self, gradients)
        parts = HostParts(gradients, self.norm_type, self.by)
        if not parts.measure():
            return None
        limits = threshold.host_thresholds(parts)
        factors = parts.factors(limits, self.eps)
        if band is not None:
            factors = band.on_host(parts, limits, factors)
        if threshold.settles:
            threshold.host_settle(parts.one_norm() * (1.0 if factors is None else factors))
        if factors is None:
            if folding is not None:
                folding.settle()
            return HostStep.of(parts, limits, "none")
        folded = folding is not None and folding.scale(gradients, factors, finite=True)
        if not folded:
            parts.scale(factors)
        path: Path = "folded" if folded else "in place"
        return HostStep.of(parts, limits, path, factors)

    def _under_bound(self, gradients: Gradients) -> HostStep | None:
        """The step on singular values that no 2-norm of all elements lets pass the threshold."""
        enough = self.enough()
        if not enough or self.by != "parameter" or self._folding is not None:
            return None
        parts = HostParts(gradients, 2.0, self.by)
        if not parts.measure() or parts.factors(enough, self.eps) is not None:
            return None
        parts.norm_type = math.inf  # in which singular values are put together
        return HostStep.of(parts, enough, "none")

    def _full_step(self, selected: Selected) -> ClipReport:
        if self._folding is None:
            return super()._full_step(selected)
        return self._folding.full_step(self, selected, super()._full_step)

    def _scale(self, parts: Parts, by: Tensor) -> None:
        folded = False
        if self._folding is not None and parts.partition.is_model:
            finite = parts.norms.isfinite().all()
            folded = self._folding.scale(parts.gradients, by[0], finite=finite)
        self.path = "folded" if folded else type(self).path
        if not folded:
            scale(parts, by)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_folding": None}
