"""The norm of each of many CPU tensors in few calls, without the compiled kernel.

A float32 sum over one long vector loses digits (4e-3 at 5e7 elements on CPU, always low), and a
call for each tensor costs more than a small tensor's arithmetic. So long tensors are reduced to
the norms of short rows, short ones of one shape are put together, and the rest is plain numbers:
operations of many kinds cost more than their arithmetic where the caches are cold, as in training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import attrgetter

import torch
from torch import Tensor

SHORT = 65_536  # elements up to which tensors of one shape are put together: one call for all
_ROW = 512  # elements of one float32 sum: errors of 4e-7 for equal elements, less for others
_SMALL = 2048  # elements up to which a clamp costs more than being measured with all others
_MANY = 64  # tensors from which one call for all costs less than one for each
_CHUNK = 262_144  # elements that stay in the cache between two calls
_dtype, _shape = attrgetter("dtype"), attrgetter("shape")


def norms_in_few_calls(tensors: list[Tensor], norm_type: float) -> list[float]:
    """The norm of each tensor, of order 1, 2 or inf; tensors are real."""
    if len(set(map(_shape, tensors))) == len(set(map(_dtype, tensors))) == 1:
        return _norms_of_alike(tensors, norm_type)
    alike: dict[tuple[torch.dtype, torch.Size], list[int]] = {}
    for i, tensor in enumerate(tensors):
        alike.setdefault((tensor.dtype, tensor.shape), []).append(i)
    norms = [0.0] * len(tensors)
    for where in alike.values():
        found = _norms_of_alike([tensors[i] for i in where], norm_type)
        for i, norm in zip(where, found, strict=True):
            norms[i] = norm
    return norms


def _norms_of_alike(tensors: list[Tensor], norm_type: float) -> list[float]:
    """The same of tensors of one dtype and shape."""
    if tensors[0].numel() > SHORT:
        rows = torch.stack([_partial(tensor, norm_type) for tensor in tensors]).double()
    else:
        rows = wide(torch.stack(tensors).reshape(len(tensors), -1))
    if norm_type == 2.0:
        norms = norms_of_rows(rows)
    else:
        rows = rows.abs()
        norms = rows.amax(1) if math.isinf(norm_type) else rows.sum(1)
    found: list[float] = norms.tolist()
    return found


def together(tensors: list[Tensor]) -> Tensor:
    """All elements as a vector; of one tensor it is no copy, so nothing may be done in place."""
    flat: Tensor = torch._utils._flatten_dense_tensors(tensors)  # type: ignore[no-untyped-call]
    return flat


def norms_of_segments(norms: Tensor, lengths: Sequence[int], norm_type: float) -> Tensor:
    """The p-norm of each of the segments that float64 norms fall into, (number of lengths,).

    Powers are taken of the ratio to the largest; a segment whose powers vanish beside it is 0.
    """
    counts = torch.tensor(list(lengths), device="cpu")
    if math.isinf(norm_type):
        return torch.segment_reduce(norms, "max", lengths=counts, initial=0.0, unsafe=True)
    peak = norms.amax() if len(norms) else norms.new_ones(())
    scale = torch.where(peak.isfinite() & (peak > 0), peak, 1.0)
    powers = (norms / scale).pow(norm_type)
    sums = torch.segment_reduce(powers, "sum", lengths=counts, initial=0.0, unsafe=True)
    return scale * sums.pow(1 / norm_type)


def clamp_in_pieces(tensors: list[Tensor], bound: float) -> list[float]:
    """Bound every magnitude, in place, in one pass; the largest of each tensor before.

    Only what reaches beyond the bound is written, piece by piece, and no piece with NaN or inf,
    where the largest is not finite. Tensors are contiguous.
    """
    if len(tensors) < _MANY or max(map(Tensor.numel, tensors)) > _SMALL:
        return [_clamp(tensor, bound) for tensor in tensors]
    found = norms_in_few_calls(tensors, math.inf)
    over = [t for t, peak in zip(tensors, found, strict=True) if bound < peak < math.inf]
    if over:
        torch._foreach_clamp_min_(over, -bound)
        torch._foreach_clamp_max_(over, bound)
    return found


def _clamp(tensor: Tensor, bound: float) -> float:
    if tensor.numel() > _CHUNK:
        return max(_clamp(piece, bound) for piece in torch.split(tensor.view(-1), _CHUNK))
    low, high = torch.aminmax(tensor)
    peak = max(-low.item(), high.item())
    if bound < peak < math.inf:
        tensor.clamp_(-bound, bound)
    return peak if peak < math.inf else math.inf


def _partial(tensor: Tensor, norm_type: float) -> Tensor:
    """A vector whose norm is that of the tensor, much shorter than it."""
    flat = tensor.view(-1) if tensor.is_contiguous() else _in_memory_order(tensor)
    if math.isinf(norm_type):
        return torch.stack(torch.aminmax(flat))
    if norm_type == 1.0:
        return torch.stack([wide(chunk).abs().sum() for chunk in torch.split(flat, _CHUNK)])
    if flat.dtype.itemsize >= 4:
        return _row_norms(flat)
    return torch.cat([_row_norms(wide(chunk)) for chunk in torch.split(flat, _CHUNK)])


def _row_norms(flat: Tensor) -> Tensor:
    rest = flat.numel() % _ROW
    rows = (flat[:-rest] if rest else flat).view(-1, _ROW)
    norms: Tensor = torch.linalg.vector_norm(rows, 2.0, dim=1)
    return torch.cat([norms, flat[-rest:]]) if rest else norms


def wide(tensor: Tensor) -> Tensor:
    """The tensor itself, or in float32 where it is of half precision."""
    return tensor if tensor.dtype.itemsize >= 4 else tensor.float()


def _in_memory_order(tensor: Tensor) -> Tensor:
    """All elements as a vector; a transposed or channels-last tensor is not copied."""
    return tensor.permute(sorted(range(tensor.ndim), key=tensor.stride, reverse=True)).reshape(-1)


def norms_of_rows(matrix: Tensor) -> Tensor:
    """The 2-norm of each row of a CPU matrix, in float64, without long float32 sums."""
    columns = matrix.shape[1]
    if columns <= 2 * _ROW:
        norms: Tensor = torch.linalg.vector_norm(matrix, 2.0, dim=1)
        return norms.double()
    whole = columns // _ROW * _ROW
    parts = [
        torch.linalg.vector_norm(torch.unflatten(matrix[:, :whole], 1, (-1, _ROW)), 2.0, dim=2)
    ]
    if whole < columns:
        parts.append(torch.linalg.vector_norm(matrix[:, whole:], 2.0, dim=1, keepdim=True))
    total: Tensor = torch.linalg.vector_norm(torch.cat(parts, dim=1).double(), 2.0, dim=1)
    return total
