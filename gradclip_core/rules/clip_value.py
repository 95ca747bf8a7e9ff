"""Clipping by value: each element for itself, which changes the direction."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias, Unpack, get_args

import torch
from torch import Tensor

from gradclip_core.checks import check_choice, plain_number
from gradclip_core.parts import sharding
from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.host_step import HostParts, HostStep, Path
from gradclip_core.parts.measure import measure_parts
from gradclip_core.parts.norms import Parts, combine
from gradclip_core.parts.partition import By
from gradclip_core.parts.responses import broadcast_to_gradients, per_gradient
from gradclip_core.rules.rule import Rule
from gradclip_core.rules.settings import RuleSettings
from gradclip_core.thresholds import Fixed, Threshold, as_threshold
from gradclip_core.thresholds.clipped_ema import refuse_falling

ElementResponse: TypeAlias = Literal["clamp", "tanh", "tamed"]


class ClipValue(Rule):
    """Bounds every element of the gradient by [-clip_value, clip_value].

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipValue
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> report = ClipValue(3.5)([weight])
        >>> weight.grad
        tensor([3.0000, 3.5000])

    g_i <- max(-c, min(c, g_i)); changes the direction. Equals `torch.nn.utils.clip_grad_value_`
    and Keras' `clipvalue`. The norm measured and reported is the largest magnitude, max |g_i|.

    Args:
        clip_value: the bound c: a number > 0; a `Threshold` on the largest magnitude of a part; or
            a pair (low, high) of bounds with low <= 0 <= high, as in `tf.clip_by_value`: zero has
            to stay zero. The threshold reported for a pair is the larger magnitude, and "clipped"
            means that an element was outside.
        by: what shares one threshold: "model", "group" (parameter groups), "module" (first
            component of the name), "parameter", "row" (each index of the first dimension), or a
            mapping of part name to regular expression.
        response: "clamp" as above; "tanh": c * tanh(g_i / c); "tamed": g_i / (1 + |g_i| / c)
            (Brosse, Durmus, Moulines and Sabanis 2017, arXiv:1710.05559). Both are smooth, act
            below the bound too and keep signs; with a pair, c is the bound on the side of g_i.
        exclude: regular expression; parameters whose name it matches anywhere are neither measured
            nor clipped. Needs names.
        min_ndim: parameters with fewer dimensions are left alone in the same way; 2: biases,
            scales.
        nonfinite: what happens to a step whose gradient holds NaN or inf: "skip" removes its
            gradients, "raise" stops and names the parameters, "zero" sets the bad elements to zero,
            "pass" lets them through; see `Guard`.
        patience: number of such steps in a row at which NonFiniteGradientError is raised; None
            bears any number.

    Under the policy `pass` NaN stays NaN and infinities become +-c (NaN if "tamed"). Raises
    TypeError for complex gradients, which have no order.
    """

    may_skip_unread = True

    def __init__(
        self,
        clip_value: float | Sequence[float] | Threshold,
        *,
        by: By = "model",
        response: ElementResponse = "clamp",
        **settings: Unpack[RuleSettings],
    ) -> None:
        self.pair = _as_pair(clip_value)
        if self.pair is None:
            threshold = as_threshold("clip_value", clip_value, _OR_PAIR)
            refuse_falling(threshold)
        else:
            threshold = Fixed(max(-self.pair[0], self.pair[1]))
        super().__init__(
            threshold,
            by=by,
            norm_type=math.inf,
            **settings,
        )
        if self.pair is not None and self.by == "row":
            raise ValueError("by must not be 'row' with a pair as clip_value, got 'row'")
        self.response = check_choice("response", response, get_args(ElementResponse))
        self.changes_below_threshold = response != "clamp"

    def fast_step(self, gradients: Gradients) -> HostStep | None:
        """One symmetric bound for all, in few operations."""
        threshold: Any = self._modules["threshold"]  # past nn.Module's way, which is slow
        if self.by != "model" or self.pair is not None or self.response != "clamp":
            return None
        parts = HostParts(gradients, math.inf)
        if not threshold.on_host or not parts.is_real():
            return None
        # In one pass; but under `raise` nothing may be changed where an element is not finite.
        at_once = type(threshold) is Fixed and self.guard.policy != "raise" and gradients.is_whole
        if not (parts.clamp(threshold.value) if at_once else parts.measure()):
            return None
        norm, limit = parts.one_norm(), threshold.host_thresholds(parts)
        if norm > limit and not at_once:
            parts.clamp(limit)
        if threshold.settles:
            threshold.host_settle(min(norm, limit))
        path: Path = "in place" if norm > limit else "none"
        return HostStep.of(parts, limit, path)

    def over(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """Which parts hold an element beyond its bound, (k,) bool; a NaN counts."""
        if self.pair is None:
            return super().over(parts, thresholds)
        _refuse_complex(parts)
        low, high = self.pair
        outside = [torch.zeros_like(parts.norms[:1])] * len(parts.gradients.params)
        for position, grad in zip(parts.gradients.present, parts.gradients.grads, strict=True):
            smallest, largest = torch.aminmax(grad)
            beyond = ~((smallest >= low) & (largest <= high))
            outside[position] = beyond.to(parts.norms).view(1)
        outside_anywhere = sharding.whole(torch.cat(outside), parts.gradients, math.inf)
        return combine(outside_anywhere, parts.partition, math.inf) > 0

    def respond(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """Bound the elements of every gradient."""
        _refuse_complex(parts)
        if self.response != "clamp":
            for grad, bounded in zip(
                parts.gradients.grads, self.bounded(parts, thresholds), strict=True
            ):
                grad.copy_(bounded)
        elif self.pair is not None or parts.partition.rows is not None:
            for grad, low, high in self._bounds(parts, thresholds):
                grad.clamp_(low.to(grad), high.to(grad))
        else:
            _clamp(parts, thresholds)
        if self.pair is None and self.response == "clamp":
            return torch.minimum(parts.norms, thresholds)
        left, _ = measure_parts(parts.gradients, parts.partition, self.norm_type, self.measure)
        return left

    def _bounds(self, parts: Parts, thresholds: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Each gradient with its lower and upper bound, fit to broadcast over it."""
        low, high = -thresholds, thresholds
        if self.pair is not None:
            low, high = (torch.full_like(thresholds, bound) for bound in self.pair)
        bounds = broadcast_to_gradients(parts, low), broadcast_to_gradients(parts, high)
        return zip(parts.gradients.grads, *bounds, strict=True)

    def bounded(self, parts: Parts, thresholds: Tensor) -> Iterator[Tensor]:
        """Each gradient with its elements bounded, as a new tensor; differentiable."""
        _refuse_complex(parts)
        if self.response == "clamp":
            for grad, low, high in self._bounds(parts, thresholds):
                yield grad.clamp(low.to(grad), high.to(grad))
            return
        function = _tanh if self.response == "tanh" else _tamed
        for grad, low, high in self._bounds(parts, thresholds):
            # Half precision is squashed in float32 and rounded once.
            dtype = torch.float64 if grad.dtype is torch.float64 else torch.float32
            wide = grad.to(dtype)
            low, high = low.to(wide), high.to(wide)
            bounds = torch.where(wide >= 0, high, -low)
            ratios = torch.where(wide == 0, 0.0, wide / bounds)
            yield function(wide, ratios, bounds).to(grad.dtype)


def _tanh(values: Tensor, ratios: Tensor, bounds: Tensor) -> Tensor:
    return torch.where(bounds.isinf(), values, bounds * ratios.tanh())


def _tamed(values: Tensor, ratios: Tensor, bounds: Tensor) -> Tensor:
    return values / (1 + ratios.abs())


def _clamp(parts: Parts, thresholds: Tensor) -> None:
    """Clamp with one bound for each gradient: as a number on CPU, as a tensor elsewhere."""
    each = per_gradient(parts, thresholds)
    on_cpu = each.device.type == "cpu"
    bounds = each.tolist() if on_cpu else each.unbind()
    for grad, bound in zip(parts.gradients.grads, bounds, strict=True):
        # A bound beyond the dtype binds nowhere, and torch refuses it as a number.
        if not on_cpu or bound <= torch.finfo(grad.dtype).max:
            grad.clamp_(-bound, bound)


def _refuse_complex(parts: Parts) -> None:
    found = parts.gradients
    for position, grad in zip(found.present, found.grads, strict=True):
        if grad.is_complex():
            name = found.name(position)
            raise TypeError(
                f"ClipValue cannot clamp complex gradients, as {name} has; use ClipNorm"
            )


_OR_PAIR = ", a pair (low, high) with low <= 0 <= high and low < high"


def _as_pair(value: object) -> tuple[float, float] | None:
    """The bounds, if `value` is a sequence; None if not. Raises ValueError for a wrong pair."""
    if getattr(value, "ndim", None) == 1:
        value = value.tolist()  # type: ignore[attr-defined]
    if isinstance(value, str) or not isinstance(value, Sequence):
        return None
    plain = map(plain_number, value)
    numbers = [v for v in plain if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(value) == len(numbers) == 2 and numbers[0] <= 0 <= numbers[1] > numbers[0]:
        return float(numbers[0]), float(numbers[1])
    raise ValueError(f"clip_value must be a number > 0{_OR_PAIR} or a Threshold, got {value!r}")
