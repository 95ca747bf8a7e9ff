"""The largest singular values of a matrix on CPU, and their vectors, without a decomposition.

Block Lanczos on A^T A with full reorthogonalisation (Golub and Van Loan, Matrix Computations,
section 10.3): a few products with thin blocks find the ends of the spectrum, where a decomposition
finds all of it. Values come from below: a Ritz pair of value t^2 and residual r says that a squared
singular value lies within r of t^2. Every singular vector has a share in the random columns that
it begins with; of equal values as many are told apart as there are columns.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

_BLOCK = 8  # columns of a product: what is read of the matrix serves all of them
_MOST = 20  # blocks, and no more than a quarter of the short side: then a decomposition is cheaper
_SAMPLE = 4 * _BLOCK  # values that tell that many are over a bound, if half of them are
_SURE = 1e-3  # r / t^2 at which a largest value stands: it is off by half of that at the worst
_PRECISE = 1e-4  # error of a clamped matrix, in units of the bound


class TopSingular:
    """A Krylov space of one matrix, which grows until it tells what is asked.

    matrix: (m, n) with n <= m, float32 or float64, whose squares neither overflow nor vanish.
    """

    def __init__(self, matrix: Tensor) -> None:
        self._matrix = matrix
        self._limit = min(_MOST * _BLOCK, matrix.shape[1] // 4)
        self._basis = matrix.new_empty(matrix.shape[1], 0)
        self._gram = torch.zeros(0, 0, dtype=torch.float64, device="cpu")
        self._next = start_block(matrix.shape[1], matrix.dtype)
        self._squares = self._residuals = self._gram.new_zeros(0)

    def largest(self) -> float | None:
        """The largest singular value, from below; None where the space would grow too large."""
        while self._grow():
            square, residual = self._squares[-1].item(), self._residuals[-1].item()
            if residual <= _SURE * square:
                return math.sqrt(square)
        return None

    def beyond(self, bound: float) -> tuple[Tensor, Tensor] | None:
        """The singular values over a bound (r,) and their right vectors (n, r).

        None where the space would grow too large, or hide some of many equal values. With t their
        values, r their residuals and s what they stand for, a clamp by them is off by at most
        r / (t + bound) in each direction: (s - bound) times the angle r / (s^2 - bound^2) to what
        stays.
        """
        if not len(self._squares):
            self._grow()
        while True:
            over = self._squares > bound**2
            allowed = _PRECISE * bound * (self._squares.clamp(min=0).sqrt() + bound)
            hidden = self._squares + self._residuals > (bound * (1 + _PRECISE)) ** 2
            if not torch.where(over, self._residuals > allowed, hidden).any():
                if _tied(self._squares[over]):
                    return None
                vectors = self._basis @ self._weights[:, over].to(self._basis.dtype)
                return self._squares[over].sqrt(), vectors
            many = len(over) >= _SAMPLE and over.sum() > len(over) / 2
            if many or not self._grow():
                return None

    def _grow(self) -> bool:
        """Take in one more block; whether there was room for it."""
        if self._basis.shape[1] + _BLOCK > self._limit:
            return False
        block = self._next
        self._basis = torch.cat([self._basis, block], 1)
        image = self._matrix.T @ (self._matrix @ block)
        row = self._basis.T @ image
        rest, size = image - self._basis @ row, len(self._gram)
        self._next, coupling = torch.linalg.qr(rest)
        # Once more: what is left of a space that holds nearly all is rounding, in any direction.
        again = self._next - self._basis @ (self._basis.T @ self._next)
        self._next, second = torch.linalg.qr(again)
        gram = torch.zeros(size + _BLOCK, size + _BLOCK, dtype=torch.float64, device="cpu")
        gram[:size, :size] = self._gram
        gram[:, size:] = row
        self._gram = gram
        self._squares, self._weights = torch.linalg.eigh(gram, UPLO="U")
        last = (second @ coupling).double() @ self._weights[size:]
        self._residuals = torch.linalg.vector_norm(last, dim=0)
        return True


def _tied(squares: Tensor) -> bool:
    """Whether as many values are equal as a block can tell apart, in ascending order."""
    return bool((squares[_BLOCK - 1 :] <= squares[: 1 - _BLOCK] * (1 + _SURE)).any())


@functools.cache
def start_block(length: int, dtype: torch.dtype) -> Tensor:
    """Columns, orthonormal in this dtype, the same at every call: a run can be made again."""
    fixed = torch.Generator("cpu").manual_seed(0)
    columns = torch.randn(length, _BLOCK, generator=fixed, dtype=dtype, device="cpu")
    block: Tensor = torch.linalg.qr(columns)[0]
    return block
