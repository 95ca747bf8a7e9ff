"""Responses of ClipValue: pairs of bounds and smooth ones, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gradclip_core import ClipValue, Percentile

pytestmark = pytest.mark.usefixtures("either_way")
Holding = Callable[..., list[nn.Parameter]]
EPS = {torch.float16: 2e-3, torch.bfloat16: 1e-2, torch.float32: 1e-6, torch.float64: 1e-14}
PAIRS = [(-1.0, 1.0), (-0.5, 2.0), (0.0, 1.0), (-3.0, 0.0), (-math.inf, 0.5), (-0.25, math.inf)]


def published(response: str, g: np.ndarray, low: float, high: float) -> np.ndarray:
    if response == "clamp":
        return np.clip(g, low, high)
    out = np.zeros_like(g)
    for i, value in np.ndenumerate(g):
        c = high if value >= 0 else -low
        if c == math.inf or value == 0:
            out[i] = value
        elif c > 0:
            out[i] = c * np.tanh(value / c) if response == "tanh" else value / (1 + abs(value) / c)
    return out


@given(
    seed=st.integers(0, 10_000),
    response=st.sampled_from(["clamp", "tanh", "tamed"]),
    pair=st.sampled_from(PAIRS),
    dtype=st.sampled_from(list(EPS)),
    by=st.sampled_from(["model", "parameter"]),
)
@settings(max_examples=150)
def test_pairs_bound_each_element_as_published(
    holding: Holding, seed: int, response: Any, pair: Any, dtype: Any, by: Any
) -> None:
    generator = torch.Generator().manual_seed(seed)
    grads = [torch.randn(s, generator=generator).to(dtype) for s in ((3, 2), (4,), ())]
    grads[1][0] = 0.0
    params = holding(*grads)
    report = ClipValue(pair, response=response, by=by)(params)
    outside = []
    for param, grad in zip(params, grads, strict=True):
        before, after = grad.double().numpy(), param.grad.double().numpy()
        expected = published(response, before, *pair)
        np.testing.assert_allclose(after, expected, rtol=EPS[dtype], atol=1e-12)
        outside.append(bool(((before < pair[0]) | (before > pair[1])).any()))
    assert report.over.tolist() == (outside if by == "parameter" else [any(outside)])
    left = max(param.grad.abs().max().item() for param in params)
    assert report.clipped_norm.item() == pytest.approx(left, rel=1e-6)


@pytest.mark.parametrize("response", ["clamp", "tanh", "tamed"])
@pytest.mark.parametrize("by", ["model", "parameter", "row"])
def test_one_bound_is_the_symmetric_pair(holding: Holding, response: Any, by: Any) -> None:
    grad = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)) * 2
    one, pair = holding(grad, grad)
    report = ClipValue(1.5, response=response, by=by)(one)
    ClipValue((-1.5, 1.5), response=response)(pair)
    torch.testing.assert_close(one.grad, pair.grad, rtol=0, atol=0)
    assert report.clipped_norm.item() == pytest.approx(one.grad.abs().max().item())


@pytest.mark.parametrize("response", ["tanh", "tamed"])
def test_smooth_bounds_keep_signs_order_and_stay_within(holding: Holding, response: Any) -> None:
    values = torch.tensor([-1e30, -5.0, -0.1, 0.0, 0.1, 5.0, 1e30])
    (param,) = holding(values)
    ClipValue(2.0, response=response)(param)
    assert torch.equal(param.grad.sign(), values.sign())
    assert torch.equal(param.grad.sort().values, param.grad)
    assert param.grad.abs().max() <= 2.0


def test_a_pair_with_everything_inside_writes_nothing(holding: Holding) -> None:
    (param,) = holding(torch.tensor([-0.5, 3.0]))
    version = param.grad._version
    report = ClipValue((-1.0, 4.0))(param)
    assert param.grad._version == version
    assert (report.clipped.item(), report.threshold.item()) == (False, 4.0)


def test_an_element_outside_the_narrower_side_is_clipped(holding: Holding) -> None:
    (param,) = holding(torch.tensor([-2.0, 3.0]))
    report = ClipValue((-1.0, 4.0))(param)
    assert param.grad.tolist() == [-1.0, 3.0]
    assert (report.clipped.item(), report.clip_rate.item()) == (True, 1.0)


def test_rows_are_clamped_by_their_own_statistic(holding: Holding) -> None:
    clipper = ClipValue(Percentile(0.0), by="row")
    clipper(holding(torch.tensor([[1.0, 0.5], [4.0, 0.5]])))
    (param,) = holding(torch.tensor([[-3.0, 0.2], [-3.0, 9.0]]))
    clipper(param)
    torch.testing.assert_close(param.grad, torch.tensor([[-1.0, 0.2], [-3.0, 4.0]]))


def test_sparse_values_are_bounded(holding: Holding) -> None:
    embedding = nn.Embedding(4, 2, sparse=True)
    embedding(torch.tensor([1, 3, 3])).sum().backward()
    ClipValue((-1.0, 1.5))(embedding)
    dense = embedding.weight.grad.to_dense()
    assert dense.tolist() == [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.5, 1.5]]


@pytest.mark.parametrize("bound", [1.0, (-1.0, 2.0)])
@pytest.mark.parametrize("response", ["clamp", "tanh", "tamed"])
def test_nan_stays_nan_under_the_policy_pass(holding: Holding, bound: Any, response: Any) -> None:
    (param,) = holding(torch.tensor([math.nan, 9.0]))
    ClipValue(bound, response=response, nonfinite="pass")(param)
    assert param.grad.isnan().tolist() == [True, False]
    assert param.grad[1].item() <= 2.0


@pytest.mark.parametrize("bound", [1.0, (-1.0, 2.0)])
def test_complex_gradients_are_refused(holding: Holding, bound: Any) -> None:
    with pytest.raises(TypeError, match="cannot clamp complex gradients"):
        ClipValue(bound)(holding(torch.tensor([9j])))


BAD = [(1.0, -1.0), (0.0, 0.0), (0.5, 1.0), (-1.0, -0.5), (1.0,), (-1, 0, 1), (math.nan, 1.0)]


@pytest.mark.parametrize("bad", [*BAD, (-1.0, math.nan), ("-1", 1.0), (False, True), ()])
def test_pairs_are_checked(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^clip_value must be .* a pair \(low, high\)") as caught:
        ClipValue(bad)
    assert str(caught.value).endswith(f"got {bad!r}")


@pytest.mark.parametrize("bad", ["hard", None, 1])
def test_the_response_is_checked(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^response must be one of clamp, tanh, tamed, got "):
        ClipValue(1.0, response=bad)


def test_pairs_by_row_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^by must not be 'row' with a pair as clip_value"):
        ClipValue((-1.0, 1.0), by="row")
