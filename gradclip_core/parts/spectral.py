"""The spectral measure: the largest singular value of a gradient, and clipping of each of them.

A vector's only singular value is its 2-norm; what is a matrix `matrices` says. Which way is taken
on CPU, and how far it may be off:

- Where the 2-norm of all elements, or sqrt(||G||_1 ||G||_inf), is under a bound nothing is over it.
- Short side of up to 128: eigenvalues of G^T G in float64, off by 1e-16.
- Larger: `TopSingular`, off by 5e-4 at the worst and 1e-6 as a rule; in float32 the clamp is off by
  1e-4 of the bound. Where many singular values are over the bound, all are found.

Elsewhere `newton_schulz` measures by products of matrices alone; the clamp takes torch's
decomposition, for which CUDA waits, and the soft clamp is made of products too.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gradclip_core.parts import newton_schulz, norms
from gradclip_core.parts.factors import hard, huber
from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.matrices import groups, matrix, matrix_indices, short_side, write
from gradclip_core.parts.responses import multiply
from gradclip_core.parts.top_singular import TopSingular

_SMALL = 128  # short side up to which all eigenvalues cost less than the largest few
_HOPELESS = 4.0  # times the bound: the second bound is seldom so much better, and reads all twice
# Sizes between which neither a float32 square nor a sum of such vanishes or overflows.
_TINY, _HUGE = 1e-12, 1e12
# How many bounds a matrix may be, for errors of 1e-4 of one: in eigenvalues of squares, 1e-16 x^2,
# and where something is subtracted, 6e-8 x and 1e-16 x.
_FAR, _FAR_IN_SINGLE, _FAR_IN_DOUBLE = 1e5, 1e3, 1e10


def spectral_norms(found: Gradients, enough: float = 0.0) -> Tensor:
    """The largest singular value of each gradient, (n,); zero where a parameter has none.

    enough: on CPU a bound from above that is at most this stands for the value; inf: everywhere.
    """
    result = norms.parameter_norms(found)
    if enough == math.inf:
        return result
    found.spectra, wanted = {}, matrix_indices(found)
    each = list(result.unbind())
    if _on_cpu(found):
        wanted = [i for i in wanted if enough < each[found.present[i]] < math.inf]
        if enough:
            wanted = [i for i in wanted if _least_bound(found, i, each, enough) > enough]
    for group in groups(found, wanted):
        sizes = torch.stack([result[found.present[i]] for i in group])
        for i, value in zip(group, _largest(found, group, sizes).unbind(), strict=True):
            each[found.present[i]] = value.to(result)
    return torch.stack(each) if each else result


def clamp(found: Gradients, bounds: Tensor) -> None:
    """Bring each singular value down to a bound, in place; one for each gradient, (present,).

    Singular vectors stay. On CPU gradients that are within their bound are not written.
    """
    sizes = norms.parameter_norms(found)[list(found.present)]
    wanted = set(matrix_indices(found))
    if _on_cpu(found):
        wanted &= set((sizes.isfinite() & (sizes > bounds)).nonzero().view(-1).tolist())
    _scale_others(found, wanted, clamped(sizes, bounds))
    for group in groups(found, sorted(wanted)):
        if _is_large(found, group):
            for i in group:
                _clamp_large(found, i, sizes[i], bounds[i])
        else:
            _change(found, group, sizes[group], bounds[group], _hard)


def soft_clamp(found: Gradients, bounds: Tensor) -> None:
    """Bring each singular value s to s / sqrt(1 + (s / c)^2) for a bound c, in place."""
    sizes = norms.parameter_norms(found)[list(found.present)]
    wanted, on_cpu = set(matrix_indices(found)), _on_cpu(found)
    if on_cpu:
        wanted &= set((sizes.isfinite() & (sizes > 0)).nonzero().view(-1).tolist())
    _scale_others(found, wanted, softened(sizes, bounds))
    for group in groups(found, sorted(wanted)):
        change = _soft if on_cpu else newton_schulz.soft_clamp
        _change(found, group, sizes[group], bounds[group], change)


_Factors = Callable[[Tensor, Tensor], Tensor]  # singular values, bounds: factors of the former
_Change = Callable[[Tensor, Tensor], Tensor]  # matrices, bounds: matrices


def clamped(values: Tensor, bounds: Tensor) -> Tensor:
    """The factors by which `clamp` scales singular values."""
    return hard(values, bounds, 0.0)


def softened(values: Tensor, bounds: Tensor) -> Tensor:
    """The factors by which `soft_clamp` scales singular values."""
    return huber(values, bounds, 2.0)


def _least_bound(found: Gradients, index: int, each: list[Tensor], enough: float) -> float:
    """A second bound from above; the lesser of both is put in the place of the first."""
    position = found.present[index]
    if each[position] > _HOPELESS * enough:
        return math.inf
    values, scale = _in_range(matrix(found, index), each[position])
    columns, rows = (torch.linalg.vector_norm(values, 1, dim=d).amax().double() for d in (0, 1))
    bound = (columns * rows).sqrt() * scale
    # A float32 sum may be short of the bound by its rounding.
    rounding = 1 + values.shape[0] * torch.finfo(values.dtype).eps
    each[position] = torch.minimum(each[position], bound * rounding)
    return each[position].item()


def _largest(found: Gradients, group: Sequence[int], sizes: Tensor) -> Tensor:
    """The largest singular value of each of a group of matrices, (k,)."""
    if _is_large(found, group):
        return torch.stack([_largest_of_one(found, i, sizes[j]) for j, i in enumerate(group)])
    on_cpu = _on_cpu(found)
    values = _stacked(found, group, wide=on_cpu)
    unit = values / _divisors(sizes).view(-1, 1, 1).to(values.device, values.real.dtype)
    if on_cpu:
        return _by_gram(unit) * sizes
    top = newton_schulz.largest(unit).to(sizes) * sizes
    return torch.where(sizes.isfinite(), top, sizes)


def _largest_of_one(found: Gradients, index: int, size: Tensor) -> Tensor:
    values, scale = _in_range(matrix(found, index), size)
    top = found.spectra[index] = TopSingular(values)
    value = top.largest()
    if value is None:
        return _by_gram(values.double() * (scale / size)) * size
    return size.new_tensor(value * scale)


def _by_gram(values: Tensor) -> Tensor:
    """The largest singular value of matrices (..., m, n), by the eigenvalues of G^H G."""
    largest: Tensor = torch.linalg.eigvalsh(values.mT.conj() @ values)[..., -1]
    return largest.sqrt()


def _clamp_large(found: Gradients, index: int, size: Tensor, bound: Tensor) -> None:
    """G - sum of (s - c) u v^T over the singular values s over c: a correction of low rank."""
    top, far = found.spectra.get(index), size / bound
    if top is None or far > _FAR_IN_SINGLE:
        values, scale = _in_range(matrix(found, index), size, wide=bool(far > _FAR_IN_SINGLE))
        top = TopSingular(values)
    else:
        values, scale = _in_range(matrix(found, index), size)
    limit = (bound / scale).item()
    pairs = top.beyond(limit) if far < _FAR_IN_DOUBLE else None
    if pairs is None:
        _change(found, [index], size.view(1), bound.view(1), _hard)
    elif len(pairs[0]):
        singular, vectors = pairs
        lost = (values @ vectors) * (1 - limit / singular).to(vectors.dtype)
        if values.data_ptr() == found.grads[index].data_ptr():  # a view of the gradient
            values.addmm_(lost, vectors.T, alpha=-1)
        else:
            write(found, index, torch.addmm(values, lost, vectors.T, alpha=-1).mul_(scale))


def _change(
    found: Gradients, group: Sequence[int], sizes: Tensor, bounds: Tensor, change: _Change
) -> None:
    """Put in the place of each matrix what a change makes of it, on a scale where its norm is 1.

    What is not finite is scaled as a whole, since nothing decomposes it.
    """
    values = _stacked(found, group, wide=_on_cpu(found))
    sizes, bounds = sizes.to(values.device), bounds.to(values.device)
    finite, scale = sizes.isfinite().view(-1, 1, 1), _divisors(sizes)
    divisors = scale.view(-1, 1, 1).to(values.real.dtype)
    new = change(torch.where(finite, values, 0.0) / divisors, bounds / scale) * divisors
    factors = clamped(sizes, bounds).view(-1, 1, 1).to(divisors)
    for i, value in zip(group, torch.where(finite, new, values * factors), strict=True):
        write(found, i, value)


def _scaled(factors: _Factors, values: Tensor, bounds: Tensor) -> Tensor:
    """Singular values of matrices whose norm is 1 times their factors.

    The eigenvectors V of G^H G give G + G V (f - 1) V^H, which what is far over its bound leaves
    without digits. There, and on devices, a decomposition serves, of which nothing is subtracted.
    """
    limits = bounds.view(-1, 1)
    if values.is_cpu and values.real.dtype is torch.float64 and bounds.amin() * _FAR >= 1:
        squares, vectors = torch.linalg.eigh(values.mT.conj() @ values)
        changes = factors(squares.clamp(min=0).sqrt(), limits) - 1
        scaled: Tensor = values + ((values @ vectors) * changes.unsqueeze(1)) @ vectors.mT.conj()
        return scaled
    left, singular, right = torch.linalg.svd(values, full_matrices=False)
    kept = singular * factors(singular, limits.to(singular))
    whole: Tensor = (left * kept.unsqueeze(1)) @ right
    return whole


_hard, _soft = functools.partial(_scaled, clamped), functools.partial(_scaled, softened)


def _stacked(found: Gradients, group: Sequence[int], *, wide: bool) -> Tensor:
    """The matrices of a group, (k, m, n), at least in float32; `wide`: in float64."""
    given = torch.stack([matrix(found, i) for i in group])
    dtype = norms.scalar_dtype(found.device) if wide else _wide(given).dtype
    return given.to(dtype.to_complex() if given.is_complex() else dtype)


def _divisors(sizes: Tensor) -> Tensor:
    """The sizes, 1 where a matrix is zero or not finite."""
    return torch.where(sizes.isfinite() & (sizes > 0), sizes, 1.0)


def _in_range(values: Tensor, size: Tensor, *, wide: bool = False) -> tuple[Tensor, float]:
    """A matrix whose squares are in the range of its dtype, and what it is to be multiplied by."""
    if not wide and values.real.dtype is not torch.float64 and _TINY < size < _HUGE:
        return _wide(values), 1.0
    return values.to(torch.complex128 if values.is_complex() else torch.float64) / size, size.item()


def _wide(values: Tensor) -> Tensor:
    return values.float() if values.dtype.itemsize < 4 else values


def _on_cpu(found: Gradients) -> bool:
    """Whether reading a number is free."""
    return found.device.type == "cpu"


def _is_large(found: Gradients, group: Sequence[int]) -> bool:
    """Whether a few singular values cost less than all, on CPU; complex matrices are not for it."""
    one = found.grads[group[0]]
    return _on_cpu(found) and not one.is_complex() and short_side(found, group[0]) > _SMALL


def _scale_others(found: Gradients, wanted: set[int], factors: Tensor) -> None:
    """Multiply what is no matrix, or is not finite, by its factor."""
    rest = [i for i in range(len(found.grads)) if i not in wanted]
    if rest:
        multiply([found.grads[i] for i in rest], factors[rest])
