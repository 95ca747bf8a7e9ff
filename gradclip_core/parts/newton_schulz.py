"""The largest singular value, and soft clipping of all, by products of matrices alone.

Nothing is decomposed and nothing read, so that a device never waits.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Odd polynomials a x + b x^3 + c x^5 that bring [1e-6, 1] to 1, to within 1e-10, one after the
# other: each is the best approximation of 1 on what the one before it leaves.
_POLYNOMIALS = (
    (8.321444115, -23.69223276, 17.37078032),
    (4.160684652, -2.961527115, 0.5428410393),
    (4.160511719, -2.961481913, 0.5428470317),
    (4.15979239, -2.96129393, 0.5428719775),
    (4.156802963, -2.960513267, 0.5429759978),
    (4.144425322, -2.957290837, 0.5434127258),
    (4.093957007, -2.944322542, 0.5452975397),
    (3.900690476, -2.89759755, 0.5542946531),
    (3.162994906, -2.37163187, 0.496832399),
    (2.181577741, -1.559851394, 0.4071015136),
    (1.881798679, -1.257533518, 0.375754147),
    (1.875000109, -1.250000121, 0.3750000121),
)
STEPS = len(_POLYNOMIALS)
_MARGIN = 1 + 1e-3  # of rounding, over the largest singular value
_SQUARINGS = 14  # powers of 2^14: the value is under the largest by log(n) / 2^15 at the worst


def largest(values: Tensor) -> Tensor:
    """The largest singular value of each of (k, m, n) matrices whose 2-norm is 1, from below; (k,).

    A high power P of S = G^T G holds the largest eigenvectors alone, and tr(P S) / tr(P) is their
    eigenvalue.
    """
    gram = values.mT.conj() @ values
    power = gram
    least = torch.finfo(gram.dtype).tiny  # zero stays zero
    for _ in range(_SQUARINGS):
        power = power @ power
        power = power / power.abs().amax((1, 2), keepdim=True).clamp(min=least)
    trace = power.diagonal(dim1=1, dim2=2).sum(1).real.clamp(min=least)
    return ((power * gram.mT).sum((1, 2)).real / trace).sqrt()


def soft_clamp(values: Tensor, bounds: Tensor) -> Tensor:
    """Bring each singular value s of (k, m, n) matrices, n <= m, to s / sqrt(1 + (s / c)^2).

    values: of 2-norm 1; bounds: c of each, (k,). Float32 or float64.

    With B the matrix G / c on top of the identity the result is c times the top of B's polar factor
    B (B^T B)^(-1/2), which odd polynomials in B reach (Amsel et al. 2025, arXiv:2505.16932, which
    has them optimal). The usual inverse root of I + G^T G / c^2 squares the condition number
    before it begins, and float32 has lost it at 1e3. Here the error, beside c, is a few eps / c
    (2-norm 1), as that of a decomposition, for c >= 1e-6; under that small singular values come
    out too small, and none comes out over c.
    """
    # A wider bound changes nothing. Under a narrower one than 1e-12 the powers would overflow.
    wanted = bounds.to(values).clamp(max=1e6).view(-1, 1, 1)
    bound = wanted.clamp(min=1e-12)
    # The largest singular value of B is at most this; the smallest is at least 1.
    most = (1 + bound**-2).sqrt() * _MARGIN
    top = values / (bound * most)
    identity = torch.eye(values.shape[2], dtype=values.dtype, device=values.device)
    low = identity / most
    for first, third, fifth in _POLYNOMIALS:
        gram = top.mT @ top + low @ low
        factor = torch.baddbmm(gram, gram, gram, beta=third, alpha=fifth) + first * identity
        top, low = top @ factor, low @ factor
    return top * wanted
