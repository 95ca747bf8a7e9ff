"""The partition `by="row"`: each unit (row) of a tensor is a part.

A row is an index of the first dimension: an output unit of a Linear or Conv layer, a gate unit
of an LSTM, a token of an embedding, dense or sparse. A tensor with fewer than two dimensions is
one part. ConvTranspose keeps its output units in dimension 1, which cannot be told from the
tensor: there a row is an input channel.

A statistic keeps its state for every row, `Percentile` 8 * (window + 1) bytes: take a short window.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradclip_core.gradients import Gradients
from gradclip_core.norms import Parts, scalar_dtype


def row_norms(gradients: Gradients, norm_type: float) -> Tensor:
    """The p-norms of all rows of all parameters, one after the other: (k,).

    Zero for rows without a gradient. Rows are never looped over; no host synchronisation on CUDA.
    """
    device = gradients.device
    present = dict(zip(gradients.present, gradients.grads, strict=True))
    pieces = []
    for position, param in enumerate(gradients.params):
        rows = len(param) if param.ndim >= 2 else 1
        piece = torch.zeros(rows, dtype=scalar_dtype(device), device=device)
        if position in present:
            index = row_index(param, present[position])
            norms = _norms(present[position], norm_type, param.ndim).to(piece)
            piece = norms if index is None else piece.index_copy_(0, index.to(device), norms)
        pieces.append(piece)
    return torch.cat(pieces) if pieces else torch.zeros(0, dtype=scalar_dtype(device))


def row_index(param: Tensor, grad: Tensor) -> Tensor | None:
    """The rows that the values of a sparse gradient stand in; None where they are all rows.

    Raises ValueError for gradients that are sparse in more than their first dimension.
    """
    if param.ndim < 2 or grad.shape == param.shape:
        return None
    if param.grad is None or param.grad.sparse_dim() != 1:
        raise ValueError(
            "by='row' takes sparse gradients with one sparse dimension, as embeddings have them, "
            f"got one of shape {tuple(param.shape)} with more"
        )
    return param.grad._indices()[0]


def spread_rows(parts: Parts, values: Tensor) -> list[Tensor]:
    """Spread one value per row, (k,), over the gradients: each shaped to broadcast over its own."""
    params, present = parts.gradients.params, parts.gradients.present
    pieces = torch.split(values, list(parts.partition.rows or ()))
    spread = []
    for position, grad in zip(present, parts.gradients.grads, strict=True):
        piece, index = pieces[position], row_index(params[position], grad)
        if index is not None:
            piece = piece[index.to(piece.device)]
        spread.append(piece.view([-1] + [1] * (grad.ndim - 1)) if grad.ndim else piece.view(()))
    return spread


def _norms(grad: Tensor, norm_type: float, ndim: int) -> Tensor:
    """The norm of each row of one gradient, in memory order: no copy of channels-last weights."""
    values = grad.abs() if grad.is_complex() else grad
    values = values if ndim >= 2 else values.reshape(1, -1)
    dims = tuple(range(1, values.ndim))
    narrow = norm_type in (1.0, 2.0, math.inf) and values.dtype is not torch.float64
    dtype = torch.float32 if narrow else scalar_dtype(grad.device)
    norms: Tensor = torch.linalg.vector_norm(values, norm_type, dim=dims, dtype=dtype)
    norms = norms.to(scalar_dtype(grad.device))
    if grad.device.type == "cpu":
        irregular = ~(norms.isfinite() & (norms > 0))
        if irregular.any():
            norms[irregular] = _scaled_norms(values[irregular], norm_type, dims)
    return norms


def _scaled_norms(values: Tensor, norm_type: float, dims: tuple[int, ...]) -> Tensor:
    """Norms of rows whose powers overflow or vanish: inf only where an element is not finite."""
    values = values.double()
    peaks = values.abs().amax(dims, keepdim=True)
    peaks = torch.where(peaks.isfinite() & (peaks > 0), peaks, 1.0)
    norms: Tensor = torch.linalg.vector_norm(values / peaks, norm_type, dim=dims)
    return norms * peaks.view(-1)
