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
    """Multiply the gradients of each part by its factor, in place.

    On CPU gradients with a factor of exactly 1 are not written.
    """
    grads = parts.gradients.grads
    if parts.partition.is_model:
        scale_all(grads, factors[0])
    elif parts.partition.rows is not None:
        _scale_rows(parts, factors)
    else:
        scale_each(grads, per_gradient(parts, factors), parts.gradients.batch())


def scale_all(grads: list[Tensor], factor: Tensor) -> None:
    """Multiply all gradients by one factor, 0-d, in place."""
    batch = native.batch(grads) if factor.device.type == "cpu" else None
    if batch is not None:
        batch.scale(factor.item())
        return
    for same in _batches(grads):
        _scale_batch(same, factor.to(same[0].device, _scale_dtype(same[0])))


def scale_all_on_cpu(grads: list[Tensor], factor: float) -> None:
    """The same on CPU without the kernel; the last first, which are still in the cache."""
    for same in _batches(grads[::-1]):
        torch._foreach_mul_(same, torch.tensor(factor, dtype=_scale_dtype(same[0])))


def scale_each(grads: list[Tensor], factors: Tensor, batch: native.Batch | None) -> None:
    """Multiply each gradient by its own factor, in place; `batch`: the same for the kernel."""
    if factors.device.type == "cpu":
        _scale_each_on_cpu(grads, factors, batch)
        return
    for grad, factor in zip(grads, factors.unbind(), strict=True):
        _scale_batch([grad], factor.to(grad.device, _scale_dtype(grad)))


def _scale_each_on_cpu(grads: list[Tensor], factors: Tensor, batch: native.Batch | None) -> None:
    """The same on CPU; gradients with the factor 1 are not written."""
    numbers = factors.tolist()
    changed = grads
    if 1.0 in numbers:
        changed = [grad for grad, number in zip(grads, numbers, strict=True) if number != 1.0]
        numbers = [number for number in numbers if number != 1.0]
    if batch is not None:
        batch.scale(factors, changed)
        return
    for dtype in set(map(_scale_dtype, changed)):
        pairs = zip(changed, torch.tensor(numbers, dtype=dtype).unbind(), strict=True)
        same = [(grad, number) for grad, number in pairs if _scale_dtype(grad) is dtype]
        torch._foreach_mul_([grad for grad, _ in same], [number for _, number in same])


def _scale_rows(parts: Parts, factors: Tensor) -> None:
    """Multiply each row of each gradient by its own factor, in place."""
    grads, each = parts.gradients.grads, broadcast_rows(parts, factors)
    if factors.device.type == "cpu":
        flat = torch.cat([factor.view(-1) for factor in each])
        rows = [factor.numel() for factor in each]
        scale_rows(grads, rows, flat, parts.gradients.batch(by_row=True))
        return
    for grad, factor in zip(grads, each, strict=True):
        _multiply_rows(grad, factor)


def scale_rows(
    grads: list[Tensor], rows: Sequence[int], factors: Tensor, batch: native.Batch | None
) -> None:
    """Multiply each row of each CPU gradient by its own factor, (k,), in place.

    `rows`: the number of rows of each; `batch`: the same for the kernel. Gradients whose factors
    are all 1 are not written.
    """
    over = factors != 1.0
    chosen: Sequence[int] = range(len(grads))
    if not over.all():
        binds = norms_of_segments(over.double(), rows, math.inf).tolist()
        chosen = [i for i, binding in enumerate(binds) if binding]
    if batch is not None:
        batch.scale(factors, [grads[i] for i in chosen])
        return
    pieces = torch.split(factors, list(rows))
    for i in chosen:
        _multiply_rows(grads[i], over_row(pieces[i], grads[i]))


def _multiply_rows(grad: Tensor, factor: Tensor) -> None:
    # A factor with dimensions promotes, so that half precision is rounded once.
    grad.mul_(factor.to(grad.device, _scale_dtype(grad)))


def _scale_batch(batch: list[Tensor], factor: Tensor) -> None:
    """Multiply gradients of one device and dtype by a 0-d factor."""
    if batch[0].device.type != "cpu" and batch[0].dtype.itemsize < factor.dtype.itemsize:
        multiply_in_float32(batch, factor)
    else:
        torch._foreach_mul_(batch, factor)


def multiply_in_float32(grads: list[Tensor], factor: Tensor) -> None:
    """Multiply half-precision gradients by a float32 factor without rounding the factor first.

    A 0-d factor does not promote: CUDA would cast it to the gradient's dtype, which keeps three
    digits of it and none below 6e-8. A factor with dimensions promotes, and `out` rounds once.
    """
    for grad in grads:
        torch.mul(grad, factor.view([1] * grad.ndim), out=grad)


def _batches(grads: list[Tensor]) -> list[list[Tensor]]:
    if native.on_cpu(grads) and len(set(map(_dtype, grads))) == 1:
        return [grads]
    batches: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for grad in grads:
        batches.setdefault((grad.device, grad.dtype), []).append(grad)
    return list(batches.values())


def _scale_dtype(grad: Tensor) -> torch.dtype:
    """A half-precision factor would keep three digits: hold it in float32 beside such gradients."""
    return torch.float64 if grad.dtype in (torch.float64, torch.complex128) else torch.float32
