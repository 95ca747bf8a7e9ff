"""Gradients that lie in no `.grad`: those of an inner loop, of `torch.func`, of `autograd.grad`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from gradclip_core.clipper import Clipper
from gradclip_core.guards import NonFiniteGradientError
from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.names import plain_names
from gradclip_core.parts.norms import Parts, scalar_dtype
from gradclip_core.parts.partition import Partition, partition
from gradclip_core.parts.responses import broadcast_to_gradients
from gradclip_core.rules.clip_norm import ClipNorm
from gradclip_core.rules.clip_value import ClipValue
from gradclip_core.thresholds import Fixed, Scheduled

T = TypeVar("T", bound=Mapping[str, Tensor | None] | Sequence[Tensor | None])


def clip_gradients(gradients: T, clipper: Clipper) -> T:
    """The gradients as a rule would leave them, as a new list, tuple or dict; differentiable.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipNorm
        >>> from gradclip_core.functional import clip_gradients
        >>> clip_gradients({"weight": torch.tensor([3.0, 4.0])}, ClipNorm(1.0, eps=0))
        {'weight': tensor([0.6000, 0.8000])}

        A step of an inner loop, through which the outer gradient flows:

        >>> weight = torch.tensor([3.0, 4.0], requires_grad=True)
        >>> grads = torch.autograd.grad(weight.square().sum(), [weight], create_graph=True)
        >>> [grad] = clip_gradients(grads, ClipNorm(1.0, eps=0))
        >>> torch.autograd.grad((weight - 0.1 * grad).sum(), weight)
        (tensor([0.9968, 1.0024]),)

    Args:
        gradients: a list or tuple of tensors, or a dict of them by name, as `torch.autograd.grad`
            and `torch.func.grad` return them; None entries stay. Names serve `exclude` and `by`.
        clipper: a `ClipNorm` or `ClipValue` with a number as its threshold, which is left as it
            was: nothing is counted.

    Values are those of the rule, and gradients flow through the norm as well. Under the policy
    `skip` all are zeros where one is not finite, so that the update changes nothing; `raise`
    raises NonFiniteGradientError, `zero` sets those elements to zero, `pass` passes them on.

    Raises TypeError for another structure or rule, ValueError for a threshold with a history and
    the response "skip" and the measure "spectral".
    """
    rule = _check(clipper)
    names, values = _taken_apart(gradients)
    at = [i for i, value in enumerate(values) if value is not None and value.numel()]
    held = [value for i in at if (value := values[i]) is not None]
    if held:
        changed = _clipped([names[i] for i in at], _guarded(held, rule), rule)
        values = list(values)
        for i, value in zip(at, changed, strict=True):
            values[i] = value
    return cast(T, _like(gradients, values))


def _like(gradients: Any, values: list[Tensor | None]) -> Any:
    """The values in the structure that the gradients came in, a named tuple among them."""
    kind: Any = type(gradients)
    if isinstance(gradients, Mapping):
        return kind(zip(gradients, values, strict=True))
    return kind._make(values) if hasattr(kind, "_make") else kind(values)


def _check(clipper: Clipper) -> ClipNorm | ClipValue:
    if type(clipper) not in (ClipNorm, ClipValue):
        raise TypeError(
            f"gradients outside .grad are clipped by ClipNorm or ClipValue, got "
            f"{type(clipper).__name__}"
        )
    assert isinstance(clipper, (ClipNorm, ClipValue))
    if type(clipper.threshold) is not Fixed:
        raise ValueError(
            "gradients outside .grad have no history: the threshold must be a number, got "
            f"{type(clipper.threshold).__name__}"
        )
    band = clipper.band if isinstance(clipper, ClipNorm) else None
    if band is not None and isinstance(band.lower, Scheduled):
        raise ValueError("lower must be a number for gradients outside .grad, got Scheduled")
    if clipper.response == "skip":
        raise ValueError("response must not be 'skip' for gradients outside .grad, got 'skip'")
    if clipper.measure == "spectral":
        raise ValueError("measure must not be 'spectral' for gradients outside .grad")
    return clipper


def _taken_apart(gradients: Any) -> tuple[list[str | None], list[Tensor | None]]:
    if isinstance(gradients, Mapping):
        names, values = plain_names(list(map(str, gradients))), list(gradients.values())
        return [*names], values
    if not isinstance(gradients, (list, tuple)):
        raise TypeError(
            f"gradients must be a list, tuple or dict of tensors, got {type(gradients).__name__}"
        )
    wrong = [value for value in gradients if not (value is None or isinstance(value, Tensor))]
    if wrong:
        raise TypeError(f"gradients must hold tensors or None, got {type(wrong[0]).__name__}")
    return [None] * len(gradients), list(gradients)


def _guarded(grads: list[Tensor], rule: ClipNorm | ClipValue) -> list[Tensor]:
    """The gradients after the policy for NaN and inf; reads nothing but for `raise`."""
    policy = rule.guard.policy
    if policy == "pass":
        return grads
    if policy == "zero":
        return [torch.where(grad.isfinite(), grad, 0.0) for grad in grads]
    finite = torch.stack([grad.isfinite().all().to(grads[0].device) for grad in grads]).all()
    if policy == "raise":
        if not bool(finite):
            raise NonFiniteGradientError("non-finite gradient among those given")
        return grads
    return [torch.where(finite.to(grad.device), grad, 0.0) for grad in grads]


def _clipped(
    names: list[str | None], grads: list[Tensor], rule: ClipNorm | ClipValue
) -> list[Tensor]:
    found = Gradients(grads, names, [0] * len(grads), range(len(grads)), grads)
    selected = rule.select(found)
    chosen = selected.chosen
    if not chosen.grads:
        return grads
    parts = _parts(chosen, rule)
    thresholds = rule.limits(parts)
    after = iter(_respond(parts, thresholds, rule))
    left_alone = {id(grad) for grad in selected.rest.grads}
    return [grad if id(grad) in left_alone else next(after) for grad in grads]


def _parts(gradients: Gradients, rule: ClipNorm | ClipValue) -> Parts:
    """The parts with their norms, by operations that have a derivative."""
    division, order = partition(gradients, rule.by), rule.norm_type
    device = gradients.device
    wide = [grad.to(device, _wide(grad)) for grad in gradients.grads]
    if division.rows is not None:
        rows = zip(wide, division.rows, strict=True)
        norms = torch.cat([torch.linalg.vector_norm(g.reshape(k, -1), order, 1) for g, k in rows])
    else:
        each = torch.stack([torch.linalg.vector_norm(grad, order) for grad in wide])
        norms = torch.stack(
            [torch.linalg.vector_norm(each[list(part)], order) for part in division.members]
        )
    if rule.measure == "rms":
        norms = norms / _sizes(gradients, division).to(norms) ** (1 / order)
    usable = norms.isfinite() & (norms > 0)
    return Parts(norms, usable, division, gradients, order, rule.measure)


def _wide(grad: Tensor) -> torch.dtype:
    dtype = scalar_dtype(grad.device)
    return dtype.to_complex() if grad.is_complex() else dtype


def _sizes(gradients: Gradients, division: Partition) -> Tensor:
    counts = division.rows or (1,) * len(division.members)
    sizes = [
        sum(gradients.grads[i].numel() for i in part) / count
        for part, count in zip(division.members, counts, strict=True)
        for _ in range(count)
    ]
    return torch.tensor(sizes, dtype=torch.float64, device="cpu")


def _respond(parts: Parts, thresholds: Tensor, rule: ClipNorm | ClipValue) -> list[Tensor]:
    grads = parts.gradients.grads
    if isinstance(rule, ClipValue):
        return list(rule.bounded(parts, thresholds))
    factors = broadcast_to_gradients(parts, rule.banded(parts, thresholds))
    return [
        grad * factor.to(grad.device, grad.dtype)
        for grad, factor in zip(grads, factors, strict=True)
    ]
