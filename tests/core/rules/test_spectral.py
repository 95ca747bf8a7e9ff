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

from gradclip_core import ClipNorm, NoClip, Percentile, RandomClip, Relative
from gradclip_core.parts import spectral

Holding = Callable[..., list[nn.Parameter]]

SHAPES = [(), (5,), (1, 6), (6, 1), (3, 3), (4, 7), (7, 4), (4, 3, 2, 2), (1, 3, 2), (20, 3)]
RESPONSES = ["clamp", "soft_clamp", "hard"]


def decomposed(grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    wide = grad.to(torch.complex128 if grad.is_complex() else torch.float64)
    matrix = wide.reshape(len(grad) if grad.ndim > 1 else 1, -1)
    return tuple(torch.linalg.svd(matrix, full_matrices=False))


def largest(grad: Tensor) -> float:
    return decomposed(grad)[1][0].item()


def expected(grad: Tensor, bound: float, response: str) -> Tensor:
    left, values, right = decomposed(grad)
    factors = {
        "clamp": (bound / values).clamp(max=1.0),
        "soft_clamp": (1 + (values / bound) ** 2) ** -0.5,
        "hard": (bound / values[0]).clamp(max=1.0).expand(len(values)),
    }[response]
    kept = torch.where(values == 0, values, values * factors)
    return ((left * kept) @ right).reshape(grad.shape)


def clip(grad: Tensor, bound: Any, response: Any = "clamp", **settings: Any) -> tuple[Tensor, Any]:
    weight = nn.Parameter(torch.zeros_like(grad))
    weight.grad = grad.clone()
    settings = {"by": "parameter", "eps": 0.0} | settings
    clipper = ClipNorm(bound, measure="spectral", response=response, **settings)
    report = clipper([("layer.weight", weight)])
    assert weight.grad is not None
    return weight.grad, report


def assert_near(found: Tensor, wanted: Tensor, size: float) -> None:
    """To within what the gradient's dtype has of each element, and 1e-12 of the norm.

    Gram eigenvalues in float64 are off by 1e-16 (s / c)^2, here of s <= 20 c.
    """
    eps = torch.finfo(found.dtype).eps
    error = torch.linalg.vector_norm(found.to(wanted.dtype) - wanted).item()
    assert error <= (4 * eps + 1e-12) * size


def of_rank(shape: tuple[int, ...], rank: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows = shape[0] if len(shape) > 1 else 1
    columns = math.prod(shape) // rows
    left = torch.randn(rows, rank, generator=generator, dtype=torch.float64)
    right = torch.randn(rank, columns, generator=generator, dtype=torch.float64)
    return (left @ right).reshape(shape)


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


@pytest.mark.parametrize("response", ["clamp", "soft_clamp"])
@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_what_is_not_finite_passes_as_in_clipping_by_norm(bad: float, response: str) -> None:
    grad = of_rank((4, 3), 3, 0)
    grad[1, 2] = bad
    found, _ = clip(grad, 1.0, response, nonfinite="pass")
    finite = torch.zeros_like(grad) if math.isinf(bad) else torch.full_like(grad, math.nan)
    finite[1, 2] = math.nan
    torch.testing.assert_close(found, finite, equal_nan=True)


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


def test_only_scaling_folds_into_a_step() -> None:
    weight = nn.Parameter(torch.ones(3, 3))
    optimizer = torch.optim.Adam([weight], fused=True)
    assert ClipNorm(1.0, measure="spectral").fold_into(optimizer)
    assert not ClipNorm(1.0, measure="spectral", response="clamp").fold_into(optimizer)
