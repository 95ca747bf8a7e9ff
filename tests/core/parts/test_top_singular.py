"""The largest singular values of large matrices, beside a decomposition in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gradclip_core.parts.top_singular import TopSingular

LONG, SHORT = 320, 256


def outliers(count: int, factor: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Noise whose singular values end at 1, and so many that are larger by a factor."""
    generator = torch.Generator().manual_seed(count)
    noise = torch.randn(LONG, SHORT, generator=generator, dtype=torch.float64)
    left, values, right = torch.linalg.svd(noise, full_matrices=False)
    values = values / values[0]
    values[:count] = factor * torch.linspace(1.0, 1.5, count, dtype=torch.float64).flip(0)
    return ((left * values) @ right).to(dtype)


def clamped(matrix: Tensor, bound: float) -> Tensor:
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    return (left * values.clamp(max=bound)) @ right


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("count", "factor"), [(1, 1.5), (1, 100.0), (3, 2.0), (9, 4.0)])
def test_it_finds_what_a_decomposition_finds(count: int, factor: float, dtype: torch.dtype) -> None:
    matrix = outliers(count, factor, dtype)
    top = TopSingular(matrix)
    value, exact = top.largest(), torch.linalg.matrix_norm(matrix.double(), 2).item()
    assert value is not None
    # A residual of 1e-3 of the square; in its square where the next value is apart.
    assert value == pytest.approx(exact, rel=1e-5)
    found = top.beyond(1.2)
    assert found is not None
    values, vectors = found
    assert len(values) == count
    result = matrix - ((matrix @ vectors) * (1 - 1.2 / values).to(dtype)) @ vectors.T
    error = torch.linalg.matrix_norm(result.double() - clamped(matrix, 1.2), 2)
    assert error.item() <= 1.2e-4 * count**0.5  # as `beyond` promises for each direction


@pytest.mark.parametrize("equal", [1, 2, 7, 8, 12])
def test_equal_values_are_found_as_often_as_they_are_there(equal: int) -> None:
    matrix = torch.zeros(LONG, SHORT)
    matrix[:equal, :equal] = 3.0 * torch.eye(equal)
    matrix[equal:, equal:].fill_diagonal_(0.1)
    found = TopSingular(matrix).beyond(1.0)
    if equal >= 8:  # columns of a block: there may be more
        assert found is None
    else:
        assert found is not None
        # Of a square that a float32 sum of 256 terms makes.
        assert found[0].tolist() == pytest.approx([3.0] * equal, rel=256 * 6e-8)


def test_it_gives_up_where_too_many_are_over() -> None:
    assert TopSingular(torch.eye(SHORT)).beyond(0.5) is None


def test_nothing_is_over_a_bound_above_all() -> None:
    found = TopSingular(outliers(1, 2.0)).beyond(2.5)
    assert found is not None
    assert len(found[0]) == 0


def test_the_same_matrix_gives_the_same_numbers() -> None:
    values = [TopSingular(outliers(2, 2.0)).largest() for _ in range(2)]
    assert values[0] == values[1]
