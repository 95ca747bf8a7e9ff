"""The partition `by="row"`: each unit (row) of a tensor is a part.

A row is an index of the first dimension: an output unit of a Linear or Conv layer, a gate unit
of an LSTM, a token of an embedding, dense or sparse. A tensor with fewer than two dimensions is
one part. ConvTranspose keeps its output units in dimension 1, which cannot be told from the
tensor: there a row is an input channel.

A statistic keeps its state for every row, `Percentile` 8 * (window + 1) bytes: take a short window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gradclip_core.parts import native, sharding
from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.norms import SMALL, Parts, scalar_dtype
from gradclip_core.parts.reductions import SHORT, norms_of_rows, together, wide

_LONGEST = 512  # elements of a row up to which a float32 sum of one is precise


def row_norms(gradients: Gradients, norm_type: float) -> Tensor:
    """The p-norms of all rows of all parameters, one after the other: (k,).

    Zero for rows without a gradient. Rows are never looped over; no host synchronisation on CUDA.
    """
    device, dtype = gradients.device, scalar_dtype(gradients.device)
    heights = [len(param) if param.ndim >= 2 else 1 for param in gradients.params]
    if not heights:
        return torch.zeros(0, dtype=dtype, device=device)
    held = [gradients.params[position] for position in gradients.present]
    pairs = list(zip(held, gradients.grads, strict=True))
    rows = [len(grad) if param.ndim >= 2 else 1 for param, grad in pairs]
    norms = _norms_of_rows(gradients, rows, norm_type).to(device)
    places = zip(gradients.present, gradients.grads, strict=True)
    indices = [row_index(gradients, position, grad) for position, grad in places]
    if len(pairs) == len(heights) and all(index is None for index in indices):
        return sharding.whole(norms, gradients, norm_type, heights)
    pieces = [torch.zeros(height, dtype=dtype, device=device) for height in heights]
    for position, index, piece in zip(
        gradients.present, indices, torch.split(norms, rows), strict=True
    ):
        if index is None:
            pieces[position] = piece
        else:
            pieces[position].index_copy_(0, index.to(device), piece)
    return sharding.whole(torch.cat(pieces), gradients, norm_type, heights)


def _norms_of_rows(gradients: Gradients, rows: list[int], norm_type: float) -> Tensor:
    """The norms of all rows of all gradients: by the compiled kernel, else in few calls."""
    batch = gradients.batch(by_row=True) if native.supports(norm_type) else None
    if batch is not None:
        return batch.norms(norm_type)[1]
    return norms_of_all_rows(gradients.grads, rows, norm_type)


@torch.no_grad()
def norms_of_all_rows(grads: list[Tensor], rows: Sequence[int], norm_type: float) -> Tensor:
    """The norms of all rows of all tensors, without the kernel."""
    norms: dict[int, Tensor] = {}
    narrow: dict[tuple[torch.device, torch.dtype, int], list[int]] = {}
    for i, grad in enumerate(grads):
        if grad.numel() > SHORT or grad.is_complex():
            norms[i] = _norms(grad, norm_type, rows[i])
        else:
            width = grad.numel() // rows[i]
            narrow.setdefault((grad.device, grad.dtype, width), []).append(i)
    for (_, _, width), where in narrow.items():
        flat = together([grads[i] for i in where])
        found = _norms(flat.view(-1, width), norm_type, flat.numel() // width)
        norms.update(zip(where, torch.split(found, [rows[i] for i in where]), strict=True))
    return (
        torch.cat([norms[i] for i in range(len(grads))]) if grads else torch.zeros(0, device="cpu")
    )


def row_index(gradients: Gradients, position: int, grad: Tensor) -> Tensor | None:
    """The rows that a sparse gradient or a shard stands in; None where they are all rows.

    Raises ValueError for gradients that are sparse in more than their first dimension.
    """
    param = gradients.params[position]
    if param.ndim < 2 or grad.shape == param.shape:
        return None
    if gradients.layouts and gradients.layouts[position] is not None:
        return sharding.local_rows(param)
    if param.grad is None or param.grad.sparse_dim() != 1:
        raise ValueError(
            "by='row' takes sparse gradients with one sparse dimension, as embeddings have them, "
            f"got one of shape {tuple(param.shape)} with more"
        )
    return param.grad._indices()[0]


def broadcast_rows(parts: Parts, values: Tensor) -> list[Tensor]:
    """One value per row, (k,), for each gradient, shaped to broadcast over it."""
    found = parts.gradients
    pieces = torch.split(values, list(parts.partition.rows or ()))
    broadcast = []
    for position, grad in zip(found.present, found.grads, strict=True):
        piece, index = pieces[position], row_index(found, position, grad)
        if index is not None:
            piece = piece[index.to(piece.device)]
        broadcast.append(over_row(piece, grad))
    return broadcast


def over_row(values: Tensor, grad: Tensor) -> Tensor:
    """One value for each row of a gradient, shaped to broadcast over it."""
    return values.view([-1] + [1] * (grad.ndim - 1) if grad.ndim else [])


def _norms(grad: Tensor, norm_type: float, rows: int) -> Tensor:
    """The norm of each row of one gradient, in memory order: no copy of channels-last weights."""
    values = grad.abs() if grad.is_complex() else grad
    values = values if rows > 1 or grad.ndim >= 2 else values.reshape(1, -1)
    dims = tuple(range(1, values.ndim))
    on_cpu = grad.device.type == "cpu"
    if on_cpu and norm_type == 2.0 and (values.ndim == 2 or values.is_contiguous()):
        norms = norms_of_rows(wide(values.flatten(1)))
    else:
        narrow = norm_type in (1.0, 2.0, math.inf) and values.dtype is not torch.float64
        if on_cpu and not math.isinf(norm_type):
            narrow &= values.shape[1:].numel() <= _LONGEST
        dtype = torch.float32 if narrow else scalar_dtype(grad.device)
        norms = torch.linalg.vector_norm(values, norm_type, dim=dims, dtype=dtype)
        norms = norms.to(scalar_dtype(grad.device))
    if on_cpu:
        smallest, largest = torch.aminmax(norms)
        if not (smallest > SMALL and largest < math.inf):
            irregular = ~((norms > SMALL) & norms.isfinite())
            norms[irregular] = _scaled_norms(values[irregular], norm_type, dims)
    return norms


def _scaled_norms(values: Tensor, norm_type: float, dims: tuple[int, ...]) -> Tensor:
    """Norms of rows whose powers overflow or vanish: inf only where an element is not finite."""
    values = values.double()
    peaks = values.abs().amax(dims, keepdim=True)
    peaks = torch.where(peaks.isfinite() & (peaks > 0), peaks, 1.0)
    norms: Tensor = torch.linalg.vector_norm(values / peaks, norm_type, dim=dims)
    return norms * peaks.view(-1)
