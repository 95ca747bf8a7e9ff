"""Gradients as matrices: which of them are, those of one shape together, and what is written back.

A gradient of shape (d0, d1, ...) is a matrix of d0 rows. With one row or one column, or fewer than
two dimensions, it is a vector. Sharded ones are gathered, one after the other, and each process
keeps its shard of what is written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from torch import Tensor

from gradclip_core.parts import sharding
from gradclip_core.parts.gradients import Gradients

_TOGETHER = 2**24  # elements that are put together at most, for the memory that copies take


def matrix_indices(found: Gradients) -> list[int]:
    """Which of the gradients that are present are matrices.

    Raises TypeError for sparse gradients of more than one sparse dimension, whose values are none.
    """
    return [i for i in range(len(found.grads)) if min(_sides(found, i)) > 1]


def short_side(found: Gradients, index: int) -> int:
    """The number of singular values of a gradient."""
    return min(_sides(found, index))


def groups(found: Gradients, wanted: Sequence[int]) -> Iterator[list[int]]:
    """These gradients by shape, dtype and device, in groups of limited size.

    Sharded ones are alone, in the order that all processes have.
    """
    alike: dict[object, list[int]] = {}
    for i in wanted:
        grad, sides = found.grads[i], _sides(found, i)
        key = (sides, grad.dtype, grad.device, i if _layout(found, i) else None)
        alike.setdefault(key, []).append(i)
    for where in alike.values():
        together = max(1, _TOGETHER // math.prod(_sides(found, where[0])))
        for start in range(0, len(where), together):
            yield where[start : start + together]


def matrix(found: Gradients, index: int) -> Tensor:
    """A whole gradient as a matrix (m, n) with n <= m: transposed if need be, a view if it can."""
    rows, columns = _sides(found, index)
    grad, layout = found.grads[index], _layout(found, index)
    if layout:
        grad = sharding.gathered(grad, found.params[found.present[index]])
    values = grad.reshape(rows, columns)
    return values.mT if rows < columns else values


def write(found: Gradients, index: int, values: Tensor) -> None:
    """Put a matrix, as `matrix` gave it, in the place of its gradient."""
    rows, columns = _sides(found, index)
    grad = found.grads[index]
    values = values.mT if rows < columns else values
    if _layout(found, index):
        param = found.params[found.present[index]]
        values = sharding.shard_of(values.reshape(param.shape), param)
    grad.copy_(values.reshape(grad.shape))


def _layout(found: Gradients, index: int) -> bool:
    """Whether a gradient is spread over processes."""
    layout = found.layouts[found.present[index]] if found.layouts else None
    return layout is not None and len(layout.groups) > 0


def _sides(found: Gradients, index: int) -> tuple[int, int]:
    """Rows and columns of a gradient; of a sparse one those that it has."""
    position, grad = found.present[index], found.grads[index]
    param = found.params[position]
    sharded = bool(found.layouts) and found.layouts[position] is not None
    shape = param.shape if sharded else grad.shape
    if not sharded and len(shape) != param.ndim:
        raise TypeError(
            "measure='spectral' takes sparse gradients with one sparse dimension, as embeddings "
            f"have them, got one with more in {found.name(position)}"
        )
    return (shape[0], shape[1:].numel()) if len(shape) > 1 else (1, shape.numel())
