"""Soft clipping and the largest singular value by products, beside a decomposition in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gradclip_core.parts import newton_schulz

CONDITIONS = [10.0**power for power in range(7)]


def spectrum(kind: str, count: int) -> Tensor:
    """Singular values of norm 1."""
    values = {
        "falling": torch.logspace(0, -6, count, dtype=torch.float64),
        "one": torch.full((count,), 1e-6, dtype=torch.float64).index_fill_(0, torch.tensor([0]), 1),
        "level": torch.linspace(1, 0.5, count, dtype=torch.float64),
        "few": (torch.arange(count) < 3).double(),
    }[kind]
    return values / values.norm()


def matrix(kind: str, long: int, short: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    given = torch.randn(long, short, generator=generator, dtype=torch.float64)
    left, _, right = torch.linalg.svd(given, full_matrices=False)
    values = spectrum(kind, short)
    return (left * values) @ right, left, values, right


def error(kind: str, shape: tuple[int, int], condition: float, dtype: torch.dtype) -> float:
    """How far the result is from the exact one, in units of the bound."""
    bound = torch.tensor([1 / condition], dtype=torch.float64)
    given, *_ = matrix(kind, *shape)
    given = given.to(dtype)
    left, values, right = torch.linalg.svd(given.double(), full_matrices=False)
    exact = (left * (values / (1 + (values / bound) ** 2).sqrt())) @ right
    found = newton_schulz.soft_clamp(given.unsqueeze(0), bound)[0].double()
    return (torch.linalg.matrix_norm(found - exact, 2) / bound).item()


@pytest.mark.parametrize("shape", [(40, 40), (100, 24), (5, 2)])
@pytest.mark.parametrize("kind", ["falling", "one", "level", "few"])
def test_the_error_grows_with_the_condition_as_that_of_a_decomposition(
    kind: str, shape: tuple[int, int]
) -> None:
    for condition in CONDITIONS:
        # Twelve steps that each round once, and what float32 has of a matrix of so many bounds.
        allowed = torch.finfo(torch.float32).eps * (100 + 2 * condition)
        assert error(kind, shape, condition, torch.float32) <= allowed, condition
        # The polynomials end within 1e-10 of 1, their coefficients have ten digits.
        assert error(kind, shape, condition, torch.float64) <= 1e-8, condition


def test_far_beyond_no_singular_value_comes_out_over_the_bound() -> None:
    given, *_ = matrix("falling", 40, 24)
    for bound in (1e-8, 1e-11, 1e-30):
        limit = torch.tensor([bound], dtype=torch.float64)
        found = newton_schulz.soft_clamp(given.float().unsqueeze(0), limit)
        assert torch.linalg.matrix_norm(found, 2).item() <= bound * (1 + 1e-4)


def test_no_bound_changes_nothing() -> None:
    given = matrix("level", 9, 4)[0].unsqueeze(0)
    infinite = torch.tensor([torch.inf], dtype=torch.float64)
    torch.testing.assert_close(newton_schulz.soft_clamp(given, infinite), given)


def test_matrices_of_a_stack_are_each_for_itself() -> None:
    stack = torch.stack([matrix(kind, 12, 6)[0] for kind in ("falling", "level", "few")])
    bounds = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    together = newton_schulz.soft_clamp(stack, bounds)
    for i in range(3):
        alone = newton_schulz.soft_clamp(stack[i : i + 1], bounds[i : i + 1])
        torch.testing.assert_close(together[i], alone[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
@pytest.mark.parametrize("kind", ["falling", "one", "level", "few"])
def test_the_largest_value_is_that_of_a_decomposition(kind: str, dtype: torch.dtype) -> None:
    given, _, values, _ = matrix(kind, 40, 32)
    (found,) = newton_schulz.largest(given.to(dtype).unsqueeze(0))
    # log(32) / 2^15 at the worst, and the rounding of the products.
    assert found.item() == pytest.approx(values[0].item(), rel=2e-4)


def test_zero_stays_zero() -> None:
    assert newton_schulz.largest(torch.zeros(2, 4, 3)).tolist() == [0.0, 0.0]
    assert not newton_schulz.soft_clamp(torch.zeros(1, 4, 3), torch.ones(1)).any()
