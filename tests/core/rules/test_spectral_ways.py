"""The ways to singular values, by the size of a matrix and where it lies, and their one end."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from gradclip_core import ClipNorm, NoClip
from gradclip_core.parts import spectral
from tests.core.rules.singular_values import clip, expected, largest, of_rank

Holding = Callable[..., list[nn.Parameter]]
RESPONSES = ["clamp", "soft_clamp", "hard"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(170, 150), (150, 170), (140, 40, 2, 2)])
@pytest.mark.parametrize("bound", [30.0, 8.0, 0.01, 1e-6])
def test_large_matrices(bound: float, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    noise = of_rank(shape, min(shape[0], math.prod(shape[1:])), 0)
    grad = (of_rank(shape, 2, 1) + noise / largest(noise)).to(dtype)
    found, report = clip(grad, bound)
    assert report.norm.item() == pytest.approx(largest(grad), rel=1e-4)
    wanted = expected(grad, bound, "clamp")
    # `beyond` promises 1e-4 of the bound in each direction; the rest is rounding to the dtype.
    eps = torch.finfo(dtype).eps
    assert torch.linalg.vector_norm(found.double() - wanted) <= 3e-4 * bound + 2 * eps * (
        torch.linalg.vector_norm(wanted) + (dtype is not torch.float64) * 1e-3 * report.norm
    )


def test_under_a_fixed_threshold_the_norm_is_a_bound_and_nothing_is_written() -> None:
    grad = of_rank((6, 4), 4, 0)
    size = torch.linalg.vector_norm(grad).item()
    for bound in (1.01 * size, 1.5 * largest(grad)):
        found, report = clip(grad, bound)
        assert torch.equal(found, grad)
        assert largest(grad) <= report.norm.item() <= bound
        assert not report.clipped
        assert report.clipped_norm == report.norm
    weight = nn.Parameter(grad)
    weight.grad = grad
    assert NoClip(measure="spectral")([weight]).norm.item() == pytest.approx(largest(grad))


def test_the_second_bound_serves_where_the_first_does_not() -> None:
    grad = torch.eye(6)  # of 2-norm sqrt(6)
    _, report = clip(grad, 1.0)
    assert report.norm.item() == pytest.approx(1.0, abs=1e-12)
    assert not report.clipped


@pytest.mark.parametrize("bound", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("rank", [1, 3, 12])
def test_large_matrices_of_low_rank_far_over_the_bound(rank: int, bound: float) -> None:
    grad = of_rank((170, 150), rank, 0) if rank > 1 else torch.ones(170, 150, dtype=torch.float64)
    found, _ = clip(grad, bound)
    values = torch.linalg.svdvals(found)
    # `beyond` promises 1e-4 of the bound in each direction, and no direction is added.
    assert values[:rank].tolist() == pytest.approx([bound] * rank, rel=2e-4)
    assert values[rank:].sum() <= 2e-4 * bound


@pytest.mark.parametrize("response", RESPONSES)
def test_devices_go_another_way_to_the_same_end(
    response: Any, monkeypatch: pytest.MonkeyPatch, holding: Holding
) -> None:
    monkeypatch.setattr(spectral, "_on_cpu", lambda found: False)
    grads = [of_rank(s, 3, i).float() for i, s in enumerate([(5, 7), (7, 5), (5, 7), (4,), (3, 3)])]
    grads += [
        torch.zeros(5, 7),
        1e30 * of_rank((4, 4), 2, 9).float(),
        of_rank((4, 6), 2, 8).bfloat16(),
    ]
    params = holding(*grads)
    ClipNorm(1.0, measure="spectral", by="parameter", response=response, eps=0)(params)
    for param, grad in zip(params, grads, strict=True):
        assert param.grad is not None
        wanted = expected(grad, 1.0, response)
        error = torch.linalg.matrix_norm(
            param.grad.double().reshape(len(grad), -1) - wanted.reshape(len(grad), -1), 2
        )
        # Float32 has eps of the matrix beside the bound. Where that is more than the bound the
        # singular vectors are those of rounding, and two matrices under one bound differ by two.
        eps = torch.finfo(param.grad.dtype).eps
        assert error.item() <= min(2.01, 100 * eps + 4 * eps * largest(grad) + 2e-4)


def test_only_scaling_folds_into_a_step() -> None:
    weight = nn.Parameter(torch.ones(3, 3))
    optimizer = torch.optim.Adam([weight], fused=True)
    assert ClipNorm(1.0, measure="spectral").fold_into(optimizer)
    assert not ClipNorm(1.0, measure="spectral", response="clamp").fold_into(optimizer)
