"""Rules on an optimizer's update: against a norm, its learning rate, its moments, the weights."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal, Self, TypeAlias, Unpack, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradclip_core.checks import check_choice, check_finite, check_number
from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.norms import Parts
from gradclip_core.parts.partition import By
from gradclip_core.parts.sharding import local
from gradclip_core.rules.band import Band
from gradclip_core.rules.settings import PartSettings, RuleSettings
from gradclip_core.stepping.second_moment import check_served, groups_of, unbiased_moment
from gradclip_core.thresholds import Threshold
from gradclip_core.updates.step_rule import StepRule

UpdateResponse: TypeAlias = Literal[
    "hard", "soft", "tanh", "huber", "normalize", "clamp", "soft_clamp"
]


class ClipUpdate(StepRule):
    """Scales each part of an optimizer's update d down to a norm of at most `max_norm`.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipUpdate
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> clipper = ClipUpdate(0.01).attach(optimizer=optimizer)
        >>> model(torch.ones(1, 2)).sum().backward()
        >>> before = [param.detach().clone() for param in model.parameters()]
        >>> _ = clipper(model)
        >>> optimizer.step()
        >>> moved = [param.detach() - old for param, old in zip(model.parameters(), before)]
        >>> print(f"{torch.cat([part.flatten() for part in moved]).norm():.3f}")
        0.010

    d_P <- d_P * tau / n_P where n_P = ||d_P|| > tau. By the whole model it is Levanter's
    `ClipUpdateNorm`; with `by="parameter"`, `measure="rms"`, `per_lr=True` and tau = 1 the
    update clipping of Adafactor, U / max(1, RMS(U) / tau) for d = lr * U (Shazeer and Stern
    2018, arXiv:1804.04235, section 6), here for any optimizer and with its weight decay in U.

    Args:
        max_norm: the threshold tau: a number > 0, or a `Threshold`; `Relative` is a share of the
            weights' norm before the step.
        per_lr: whether to measure d / lr, so that the threshold outlives a schedule. It costs one
            more copy of the parameters during `step()`.
        by: what shares one threshold: "model", "group" (parameter groups), "module" (first
            component of the name), "parameter", "row" (each index of the first dimension), or a
            mapping of part name to regular expression.
        norm_type: order p of the norm, any number > 0 or inf.
        measure: "norm"; "rms": norm / D^(1/p) of a part with D elements, the root mean square for
            p = 2; or "spectral": the largest singular value of a tensor as a matrix of len(tensor)
            rows, and of several the largest.
        response: what happens to a part of norm n: "hard", "soft", "tanh", "huber" or "normalize",
            and with measure="spectral" "clamp" or "soft_clamp", as in `ClipNorm`. "skip" is none of
            them: the optimizer's state has moved on.
        sharpness: q > 0 of the response "huber"; 2 to 8 are usual.
        band: a `Band`: a least norm, up to which updates are lifted, and limits on the factor of
            one step. None: none.
        exclude: regular expression; parameters whose name it matches anywhere are neither measured
            nor clipped. Needs names.
        min_ndim: parameters with fewer dimensions are left alone in the same way; 2: biases,
            scales.
        nonfinite: what happens to a step whose gradient holds NaN or inf: "skip" removes its
            gradients, "raise" stops and names the parameters, "zero" sets the bad elements to zero,
            "pass" lets them through; see `Guard`.
        patience: number of such steps in a row at which NonFiniteGradientError is raised; None
            bears any number.
    """

    def __init__(
        self,
        max_norm: float | Threshold,
        *,
        per_lr: bool = False,
        response: UpdateResponse = "hard",
        sharpness: float = 4.0,
        band: Band | None = None,
        **settings: Unpack[PartSettings],
    ) -> None:
        super().__init__(
            max_norm,
            response=check_choice("response", response, get_args(UpdateResponse)),
            sharpness=sharpness,
            band=band,
            **settings,
        )
        self.per_lr = per_lr
        self._groups: list[dict[str, Any]] = []  # those of the updates of this step

    def attach(self, *, model: nn.Module | None = None, optimizer: Optimizer | None = None) -> Self:
        """Bound the steps of this optimizer; ValueError if a rate is needed and there is none."""
        super().attach(model=model, optimizer=optimizer)
        groups = self._attached().param_groups
        if self.per_lr and not all("lr" in group for group in groups):
            self.detach()
            raise ValueError(
                f"{type(self).__name__} divides updates by their learning rates: every parameter "
                "group of the optimizer needs an 'lr'"
            )
        return self

    def bounds(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """The bound of the singular values of each update, not divided by its learning rate."""
        bounds = super().bounds(parts, thresholds)
        return bounds * self.rates().to(bounds) if self.per_lr else bounds

    def rates(self) -> Tensor:
        """The learning rate of each update, (present,)."""
        return torch.stack([_as_double(group["lr"]) for group in self._groups])

    def measured(self, updates: Gradients, params: list[Tensor], optimizer: Optimizer) -> Gradients:
        """The updates, divided by their learning rates where asked."""
        if not self.per_lr:
            return updates
        groups = groups_of(optimizer)
        self._groups = [groups[id(param)] for param in params]
        # A rate of zero has made no update: 0 / 0 is none.
        grads = [
            update / torch.where(rate == 0, 1.0, rate).to(update.dtype)
            for update, rate in zip(updates.grads, self.rates(), strict=True)
        ]
        return replace(updates, grads=grads)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_groups": []}


class StableUpdate(StepRule):
    """Scales each parameter's update by 1 / max(1, RMS), where Adam's second moment lags behind.

    Examples:
        >>> import torch
        >>> from gradclip_core import StableUpdate
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        >>> clipper = StableUpdate().attach(optimizer=optimizer)
        >>> for size in (1.0, 30.0):
        ...     optimizer.zero_grad()
        ...     model(torch.full((1, 2), size)).sum().backward()
        ...     _ = clipper(model)
        ...     optimizer.step()
        >>> clipper.last_report.clipped.item()
        True

    RMS_i = sqrt(mean(g^2 / max(v, eps^2))) of parameter i, with g its gradient and v the second
    moment after the step, corrected for the start: a value far over 1 says that v has not seen
    gradients of this size. With AdamW this is StableAdamW (Wortsman et al. 2023,
    arXiv:2304.13013, algorithm 2). eps is the optimizer's.

    Args:
        max_rms: the largest RMS that is left alone, > 0; 1 in the source.
        by: what shares one factor; "parameter" in the source.
        exclude: regular expression; parameters whose name it matches anywhere are neither measured
            nor clipped. Needs names.
        min_ndim: parameters with fewer dimensions are left alone in the same way; 2: biases,
            scales.
        nonfinite: what happens to a step whose gradient holds NaN or inf: "skip" removes its
            gradients, "raise" stops and names the parameters, "zero" sets the bad elements to zero,
            "pass" lets them through; see `Guard`.
        patience: number of such steps in a row at which NonFiniteGradientError is raised; None
            bears any number.

    Serves Adam, AdamW, NAdam, RAdam, RMSprop and Adadelta; ValueError for others. Norms in the
    report are those root mean squares, thresholds `max_rms`. Dense gradients only. Memory: two
    more copies of the parameters in `step()`.
    """

    def __init__(
        self,
        max_rms: float = 1.0,
        *,
        by: By = "parameter",
        **settings: Unpack[RuleSettings],
    ) -> None:
        super().__init__(
            check_finite("max_rms", max_rms),
            by=by,
            measure="rms",
            **settings,
        )

    def attach(self, *, model: nn.Module | None = None, optimizer: Optimizer | None = None) -> Self:
        """Bound the steps of this optimizer; ValueError if it keeps no second moment."""
        model, optimizer = self._together(model, optimizer)
        check_served(type(self).__name__, optimizer)
        return super().attach(model=model, optimizer=optimizer)

    def measured(self, updates: Gradients, params: list[Tensor], optimizer: Optimizer) -> Gradients:
        """The gradients divided by the root of their second moment."""
        groups = groups_of(optimizer)
        ratios = []
        for param, update in zip(params, updates.grads, strict=True):
            group = groups[id(param)]
            moment = unbiased_moment(optimizer, param, group)
            if moment is None or param.grad is None:
                ratios.append(torch.zeros_like(update))
            else:
                ratios.append(_over_root(local(param.grad), moment, update.dtype, group["eps"]))
        return replace(updates, grads=ratios)


class Clippy(StepRule):
    """Scales each parameter's update so that no element moves by more than a share of its weight.

    Examples:
        >>> import torch
        >>> from gradclip_core import Clippy
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> clipper = Clippy(0.5, 0.01).attach(optimizer=optimizer)
        >>> model(torch.full((1, 2), 50.0)).sum().backward()
        >>> before = model.weight.detach().clone()
        >>> _ = clipper(model)
        >>> optimizer.step()
        >>> bool(((model.weight - before).abs() <= 0.5 * before.abs() + 0.0101).all())
        True

    s_i = min(1, min_j (relative * |w_j| + absolute) / |d_j|) over the elements j of parameter i,
    with w the weights before the step and d their update. Source: Tang et al. 2023,
    arXiv:2302.09178, there for Adagrad's update.

    Args:
        relative: share of an element's own size, >= 0.
        absolute: what an element may always move, > 0, or weights that are zero would stay zero.
        by: what shares one factor; "parameter" in the source.
        exclude: regular expression; parameters whose name it matches anywhere are neither measured
            nor clipped. Needs names.
        min_ndim: parameters with fewer dimensions are left alone in the same way; 2: biases,
            scales.
        nonfinite: what happens to a step whose gradient holds NaN or inf: "skip" removes its
            gradients, "raise" stops and names the parameters, "zero" sets the bad elements to zero,
            "pass" lets them through; see `Guard`.
        patience: number of such steps in a row at which NonFiniteGradientError is raised; None
            bears any number.

    Serves any optimizer but LBFGS. Norms in the report are the largest |d| / (relative * |w| +
    absolute) of each part, thresholds 1. Memory: one more copy of the parameters in `step()`.
    """

    def __init__(
        self,
        relative: float = 0.5,
        absolute: float = 0.01,
        *,
        by: By = "parameter",
        **settings: Unpack[RuleSettings],
    ) -> None:
        super().__init__(
            1.0,
            by=by,
            norm_type=math.inf,
            **settings,
        )
        allowed = "a finite number >= 0"
        self.relative = check_number("relative", relative, allowed, lambda x: 0 <= x < math.inf)
        self.absolute = check_finite("absolute", absolute)

    def measured(self, updates: Gradients, params: list[Tensor], optimizer: Optimizer) -> Gradients:
        """The updates in units of what each element may move."""
        weights = [local(updates.params[i]) for i in updates.present]
        shares = [
            update / (self.relative * weight.to(update.dtype).abs() + self.absolute)
            for weight, update in zip(weights, updates.grads, strict=True)
        ]
        return replace(updates, grads=shares)


def _over_root(grad: Tensor, moment: Tensor, dtype: torch.dtype, eps: float) -> Tensor:
    """A gradient over the root of its second moment, in this dtype.

    To an optimizer a complex number is two real ones, so the mean is over twice as many elements.
    """
    if not dtype.is_complex:
        return grad.to(dtype) / moment.to(dtype).sqrt().clamp(min=eps)
    pairs = torch.view_as_real(grad.to(dtype)), torch.view_as_real(moment.to(dtype))
    ratio = pairs[0] / pairs[1].sqrt().clamp(min=eps)
    return torch.view_as_complex(ratio / math.sqrt(2))


def _as_double(rate: float | Tensor) -> Tensor:
    if isinstance(rate, Tensor):
        return rate.double()
    return torch.tensor(rate, dtype=torch.float64, device="cpu")
