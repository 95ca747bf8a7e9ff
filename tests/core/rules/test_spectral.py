"""Clipping by singular values, beside a decomposition in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gradclip_core import ClipNorm, Percentile, RandomClip, Relative
from tests.core.rules.singular_values import clip, expected, largest, of_rank

Holding = Callable[..., list[nn.Parameter]]

SHAPES = [(), (5,), (1, 6), (6, 1), (3, 3), (4, 7), (7, 4), (4, 3, 2, 2), (1, 3, 2), (20, 3)]
RESPONSES = ["clamp", "soft_clamp", "hard"]


def assert_near(found: Tensor, wanted: Tensor, size: float) -> None:
    """To within what the gradient's dtype has of each element, and 1e-12 of the norm.

    Gram eigenvalues in float64 are off by 1e-16 (s / c)^2, here of s <= 20 c.
    """
    eps = torch.finfo(found.dtype).eps
    error = torch.linalg.vector_norm(found.to(wanted.dtype) - wanted).item()
    assert error <= (4 * eps + 1e-12) * size


@settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from(SHAPES),
    rank=st.integers(1, 4),
    scale=st.sampled_from([1e-30, 1e-6, 1.0, 1e6, 1e30]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    share=st.sampled_from([0.05, 0.5, 0.99, 1.5]),
    response=st.sampled_from(RESPONSES),
    seed=st.integers(0, 1000),
)
def test_singular_values_are_those_of_the_oracle(
    shape: tuple[int, ...],
    rank: int,
    scale: float,
    dtype: torch.dtype,
    share: float,
    response: str,
    seed: int,
) -> None:
    grad = (scale * of_rank(shape, rank, seed)).to(dtype)
    top, size = largest(grad), torch.linalg.vector_norm(grad.double()).item()
    found, report = clip(grad, share * top, response)
    assert_near(found, expected(grad, share * top, response), size)
    assert bool(report.clipped) == (share < 1)
    if report.path != "none":
        # A vector's norm is a float32 sum.
        assert report.norm.item() == pytest.approx(top, rel=1e-6)
        left = largest(expected(grad, share * top, response))
        assert report.clipped_norm.item() == pytest.approx(left, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), response=st.sampled_from(["clamp", "hard"]))
def test_twice_is_once(seed: int, response: str) -> None:
    grad = of_rank((5, 8), 4, seed)
    bound = 0.4 * largest(grad)
    once, _ = clip(grad, bound, response)
    twice, _ = clip(once, bound, response)
    torch.testing.assert_close(twice, once, rtol=1e-12, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), response=st.sampled_from(RESPONSES))
def test_turning_before_is_turning_after(seed: int, response: str) -> None:
    grad, bound = of_rank((5, 8), 4, seed), 2.0
    left = torch.linalg.qr(of_rank((5, 5), 5, seed + 1))[0]
    right = torch.linalg.qr(of_rank((8, 8), 8, seed + 2))[0]
    turned, _ = clip(left @ grad @ right, bound, response)
    torch.testing.assert_close(turned, left @ clip(grad, bound, response)[0] @ right)


@pytest.mark.parametrize("response", RESPONSES)
@pytest.mark.parametrize("shape", [(9,), (1, 9), (9, 1), (6, 4)])
def test_of_vectors_and_of_rank_one_it_is_clipping_by_norm(
    shape: tuple[int, ...], response: str, holding: Holding
) -> None:
    grad = of_rank(shape, 1, 0)
    by_norm = "huber" if response == "soft_clamp" else "hard"
    (weight,) = holding(grad)
    ClipNorm(0.7, response=by_norm, sharpness=2.0, eps=0)([weight])
    torch.testing.assert_close(clip(grad, 0.7, response)[0], weight.grad)


@pytest.mark.parametrize("response", RESPONSES)
@pytest.mark.parametrize(
    "grad",
    [torch.zeros(4, 3), 3.0 * torch.eye(5), torch.ones(4, 6), torch.tensor([[2.0, 0], [0, 2.0]])],
)
def test_zeros_and_equal_values(grad: Tensor, response: str) -> None:
    found, report = clip(grad, 1.0, response)
    torch.testing.assert_close(found.double(), expected(grad, 1.0, response))
    assert report.norm.item() == pytest.approx(largest(grad))


def test_complex_gradients() -> None:
    grad = torch.complex(of_rank((4, 6), 3, 0), of_rank((4, 6), 3, 1))
    for response in RESPONSES:
        torch.testing.assert_close(clip(grad, 1.0, response)[0], expected(grad, 1.0, response))


@pytest.mark.parametrize("lie", ["transposed", "channels last"])
def test_gradients_that_lie_otherwise(lie: str) -> None:
    grad = of_rank((6, 4), 3, 0).T if lie == "transposed" else of_rank((4, 3, 2, 5), 4, 0)
    grad = grad if lie == "transposed" else grad.to(memory_format=torch.channels_last)
    torch.testing.assert_close(clip(grad, 1.0)[0], expected(grad, 1.0, "clamp"))


def test_rows_of_an_embedding_are_those_that_the_batch_has() -> None:
    embedding = nn.Embedding(50, 4, sparse=True)
    (100 * embedding(torch.tensor([3, 7, 7, 9]))).square().sum().backward()
    assert embedding.weight.grad is not None
    dense = embedding.weight.grad.to_dense()
    ClipNorm(1.0, by="parameter", measure="spectral", response="clamp")(embedding)
    torch.testing.assert_close(
        embedding.weight.grad.to_dense().double(), expected(dense, 1.0, "clamp"), atol=1e-5, rtol=0
    )


def test_values_that_are_no_matrix_are_refused_by_name() -> None:
    weight = nn.Parameter(torch.zeros(3, 3))
    weight.grad = torch.ones(3, 3).to_sparse()
    with pytest.raises(
        TypeError, match=r"one sparse dimension.* got one with more in layer\.weight"
    ):
        ClipNorm(1.0, measure="spectral")([("layer.weight", weight)])


def test_several_matrices_in_one_part_share_a_bound(holding: Holding) -> None:
    grads = [of_rank((5, 4), 3, 0), 0.01 * of_rank((3, 3), 3, 1), of_rank((4,), 1, 2)]
    params = holding(*grads)
    report = ClipNorm(1.0, measure="spectral", response="clamp")(params)
    assert report.norm.item() == pytest.approx(max(map(largest, grads)))
    for param, grad in zip(params, grads, strict=True):
        torch.testing.assert_close(param.grad, expected(grad, 1.0, "clamp"))
    assert report.clipped_norm.item() == pytest.approx(1.0)


def test_a_learnt_threshold_sees_the_largest_singular_value(holding: Holding) -> None:
    clipper = ClipNorm(Percentile(50), measure="spectral", by="parameter", response="clamp")
    weight = nn.Parameter(torch.zeros(4, 4))
    for seed in range(5):
        weight.grad = of_rank((4, 4), 4, seed).float()
        report = clipper([weight])
    tops = torch.tensor([largest(of_rank((4, 4), 4, seed).float()) for seed in range(5)])
    assert report.threshold.item() == pytest.approx(tops.median().item())


def test_a_share_of_the_weights_is_of_their_largest_singular_value(holding: Holding) -> None:
    (weight,) = holding(of_rank((4, 4), 4, 0))
    weight.data = of_rank((4, 4), 4, 1)
    report = ClipNorm(Relative(0.1), measure="spectral", by="parameter")([weight])
    assert report.threshold.item() == pytest.approx(0.1 * largest(weight.data))


@pytest.mark.parametrize("response", ["clamp", "soft_clamp"])
@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_what_is_not_finite_passes_as_in_clipping_by_norm(bad: float, response: str) -> None:
    grad = of_rank((4, 3), 3, 0)
    grad[1, 2] = bad
    found, _ = clip(grad, 1.0, response, nonfinite="pass")
    finite = torch.zeros_like(grad) if math.isinf(bad) else torch.full_like(grad, math.nan)
    finite[1, 2] = math.nan
    torch.testing.assert_close(found, finite, equal_nan=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm_type": 1.0}, "norm_type must be 2 with measure='spectral', got 1.0"),
        ({"by": "row"}, "by must not be 'row' with measure='spectral', got 'row'"),
        ({"budget": "equal"}, "budget must be 'each' with measure='spectral', got 'equal'"),
        (
            {"measure": "norm", "response": "clamp"},
            "response='clamp' is of singular values: it needs measure='spectral', got 'norm'",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        ClipNorm(1.0, **({"measure": "spectral"} | settings))
    assert str(caught.value).startswith(message)


def test_random_clipping_scales_by_singular_values(holding: Holding) -> None:
    grad = of_rank((5, 4), 3, 0)
    (weight,) = holding(grad)
    clipper = RandomClip(1e-3, beta=0.999, by="parameter", measure="spectral", eps=0)
    clipper([weight])
    torch.testing.assert_close(weight.grad, expected(grad, 1e-3, "hard"))
