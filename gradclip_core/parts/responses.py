"""Responses: a value per part brought to the gradients, and scaling them in place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import attrgetter

import torch
from torch import Tensor

from gradclip_core.parts import native
from gradclip_core.parts.norms import Parts
from gradclip_core.parts.reductions import norms_of_segments
from gradclip_core.parts.rows import broadcast_rows, over_row

_dtype = attrgetter("dtype")


def broadcast_to_gradients(parts: Parts, values: Tensor) -> Sequence[Tensor]:
    """One value per part, (k,), for each gradient, fit to broadcast over it."""
    if parts.partition.rows is not None:
        return broadcast_rows(parts, values)
    return per_gradient(parts, values).unbind()


def per_gradient(parts: Parts, values: Tensor) -> Tensor:
    """One value per part, (k,), as one for each gradient that is present, in their order."""
    partition, present = parts.partition, parts.gradients.present
    if partition.is_model:
        return values.expand(len(present))
    part_of = [0] * partition.num_parameters
    for part, members in enumerate(partition.members):
        for position in members:
            part_of[position] = part
    return values[[part_of[position] for position in present]]


def scale(parts: Parts, factors: Tensor) -> None:
    """Multiply the gradients of each part by its factor, in place; factors: (k,).

    On CPU gradients with a factor of exactly 1 are not written.
    """
    found, rows = parts.gradients, None
    by_row = parts.partition.rows is not None
    if parts.partition.is_model:
        factors = factors[0]
    elif by_row:
        each = broadcast_rows(parts, factors)
        factors, rows = torch.cat([f.view(-1) for f in each]), [f.numel() for f in each]
    else:
        factors = per_gradient(parts, factors)
    batch = found.batch(by_row=by_row) if factors.is_cpu else None
    multiply(found.grads, factors, rows, batch)


def multiply(
    grads: list[Tensor],
    factors: Tensor | float,
    rows: Sequence[int] | None = None,
    batch: native.Batch | None = None,
) -> None:
    """Multiply gradients in place, without rounding a factor to half precision first.

    factors: one for all, as a number or 0-d; one for each gradient, (n,); or one for each row of
        each, `rows` being their numbers of rows.
    batch: the same gradients as the kernel takes them.
    """
    steps = None if batch is not None else _in_steps(factors)
    if steps is not None:
        for step in steps:
            multiply(grads, step, rows)
        return
    if isinstance(factors, float) or not factors.ndim:
        _multiply_all(grads, factors, batch)
        return
    changed: Sequence[int] = range(len(grads))
    if factors.is_cpu:
        changed = _changed(factors, rows)
        if batch is not None:
            some = len(changed) < len(grads)
            batch.scale(factors, [grads[i] for i in changed] if some else grads)
            return
    for dtype in {_scale_dtype(grads[i]) for i in changed}:
        rounded = factors.to(dtype)
        each = rounded.unbind() if rows is None else torch.split(rounded, list(rows))
        same = [i for i in changed if _scale_dtype(grads[i]) is dtype]
        fitting = [_fit(each[i], grads[i]) for i in same]
        torch._foreach_mul_([grads[i] for i in same], fitting)


def _in_steps(factors: Tensor | float) -> tuple[Tensor, Tensor] | None:
    """Two factors for each where float32 has no normal number for one; None where it has for all.

    The second is a power of two, which rounds nothing that the first has left. On other devices
    nothing is read, so that such factors lose digits there.
    """
    least = torch.finfo(torch.float32).tiny
    if isinstance(factors, float):
        if factors == 0 or not abs(factors) < least:
            return None
        factors = torch.tensor(factors, dtype=torch.float64, device="cpu")
    small = (factors != 0) & (factors.abs() < least)
    if not factors.is_cpu or not small.any():
        return None
    halves = torch.frexp(factors.double()).exponent.div(2, rounding_mode="floor")
    powers = torch.where(small, torch.exp2(halves.double()), 1.0)
    return factors / powers, powers


def _changed(factors: Tensor, rows: Sequence[int] | None) -> Sequence[int]:
    """Which gradients have a factor that is not 1."""
    differs = factors != 1.0
    if differs.all():
        return range(len(differs) if rows is None else len(rows))
    if rows is not None:
        differs = norms_of_segments(differs.double(), rows, math.inf) > 0
    return [i for i, one in enumerate(differs.tolist()) if one]


def _fit(factor: Tensor, grad: Tensor) -> Tensor:
    """A factor, or one for each row, fit to multiply a gradient at full precision.

    A 0-d factor does not promote: CUDA would cast it to the gradient's dtype, of which half
    precision keeps three digits and nothing below 6e-8. A factor with dimensions does.
    """
    if factor.ndim:
        return over_row(factor, grad).to(grad.device)
    return factor if grad.is_cpu else factor.view([1] * grad.ndim).to(grad.device)


def _multiply_all(grads: list[Tensor], factor: Tensor | float, batch: native.Batch | None) -> None:
    if batch is not None:
        batch.scale(float(factor))
        return
    # The last first: on CPU they are still in the cache.
    for same in _alike(grads[::-1]):
        dtype = _scale_dtype(same[0])
        number = torch.as_tensor(factor, dtype=dtype, device=same[0].device)
        if same[0].is_cpu or same[0].dtype.itemsize >= dtype.itemsize:
            torch._foreach_mul_(same, number)
        else:
            torch._foreach_mul_(same, [_fit(number, grad) for grad in same])


def _alike(grads: list[Tensor]) -> list[list[Tensor]]:
    """The gradients by device and dtype."""
    if native.on_cpu(grads) and len(set(map(_dtype, grads))) == 1:
        return [grads]
    alike: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for grad in grads:
        alike.setdefault((grad.device, grad.dtype), []).append(grad)
    return list(alike.values())


def _scale_dtype(grad: Tensor) -> torch.dtype:
    """A half-precision factor would keep three digits: hold it in float32 beside such gradients."""
    return torch.float64 if grad.dtype in (torch.float64, torch.complex128) else torch.float32
