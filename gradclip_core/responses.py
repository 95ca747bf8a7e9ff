"""Responses: spreading a value per part over the gradients, and scaling them in place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gradclip_core.norms import Parts
from gradclip_core.rows import spread_rows


def spread(parts: Parts, values: Tensor) -> Sequence[Tensor]:
    """Spread one value per part, (k,), over the gradients: each fit to broadcast over its own."""
    if parts.partition.rows is not None:
        return spread_rows(parts, values)
    return per_gradient(parts, values).unbind()


def per_gradient(parts: Parts, values: Tensor) -> Tensor:
    """Spread one value per part, (k,), over the gradients that are present, in their order."""
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
    if parts.partition.rows is not None:
        _scale_rows(grads, spread_rows(parts, factors))
        return
    if parts.partition.is_model:
        for batch in _batches(grads):
            _scale_batch(batch, factors[0].to(batch[0].device, _scale_dtype(batch[0])))
        return
    each = per_gradient(parts, factors)
    if parts.norms.device.type == "cpu":
        chosen = [(g, f) for g, f in zip(grads, each.tolist(), strict=True) if f != 1.0]
        for grad, factor in chosen:
            grad.mul_(factor)
        return
    for grad, factor in zip(grads, each.unbind(), strict=True):
        _scale_batch([grad], factor.to(grad.device, _scale_dtype(grad)))


def _scale_rows(grads: list[Tensor], factors: list[Tensor]) -> None:
    """Multiply each gradient by a factor for each of its rows."""
    for grad, factor in zip(grads, factors, strict=True):
        if factor.device.type != "cpu" or bool((factor != 1).any()):
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
    batches: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for grad in grads:
        batches.setdefault((grad.device, grad.dtype), []).append(grad)
    return list(batches.values())


def _scale_dtype(grad: Tensor) -> torch.dtype:
    """A half-precision factor would keep three digits: hold it in float32 beside such gradients."""
    return torch.float64 if grad.dtype in (torch.float64, torch.complex128) else torch.float32
