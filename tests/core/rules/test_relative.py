"""Thresholds from the weights: AGC as timm and Optax compute it, and nothing frozen."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gradclip_core import ClipNorm, Relative

SHAPES = [(), (1,), (4,), (3, 5), (4, 2, 3), (3, 2, 3, 3), (2, 1, 1, 1)]
case = given(
    seed=st.integers(0, 10_000),
    shape_list=st.lists(st.sampled_from(SHAPES), min_size=1, max_size=4),
    scale=st.sampled_from([1e-3, 0.05, 1.0, 1e3]),
    factor=st.sampled_from([0.01, 0.1, 1.0]),
)


def agc(factor: float = 0.01, **settings: Any) -> ClipNorm:
    return ClipNorm(Relative(factor), by="row", eps=0, **settings)


def make(seed: int, shape_list: list[Any], scale: float) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    params = []
    for i, shape in enumerate(shape_list):
        # Some parameters are zero, as a residual branch's last scale is at the start.
        zero = i % 3 == 2
        weight = torch.zeros(shape) if zero else torch.randn(shape, generator=generator)
        params.append(nn.Parameter(weight))
        params[-1].grad = torch.randn(shape, generator=generator) * scale
    return params


def copies(params: list[nn.Parameter]) -> list[nn.Parameter]:
    made = [nn.Parameter(param.detach().clone()) for param in params]
    for copy, param in zip(made, params, strict=True):
        copy.grad = param.grad.clone()
    return made


@pytest.fixture(scope="module")
def timm_agc() -> Callable[..., None]:
    """timm's function from its own file: importing the package needs torchvision."""
    found = importlib.util.find_spec("timm")
    if found is None or found.origin is None:
        pytest.skip("timm is not installed")
    path = Path(found.origin).parent / "utils" / "agc.py"
    spec = importlib.util.spec_from_file_location("timm_agc", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Callable[..., None] = module.adaptive_clip_grad
    return function


@case
@settings(max_examples=40)
def test_rows_relative_to_their_weights_are_timms_agc(
    timm_agc: Any, seed: int, shape_list: Any, scale: float, factor: float
) -> None:
    ours = make(seed, shape_list, scale)
    theirs = copies(ours)
    agc(factor)(ours)
    timm_agc(theirs, clip_factor=factor)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=0)


def to_optax(tensor: Tensor) -> np.ndarray:
    """Optax keeps units last: (in, out), and (height, width, in, out)."""
    order = {2: (1, 0), 4: (2, 3, 1, 0)}.get(tensor.ndim, range(tensor.ndim))
    return tensor.detach().permute(tuple(order)).numpy()


@given(
    seed=st.integers(0, 10_000),
    shape=st.sampled_from([(4,), (3, 5), (3, 2, 3, 3)]),
    scale=st.sampled_from([1e-3, 0.05, 1e3]),
)
@settings(max_examples=6)
def test_rows_relative_to_their_weights_are_optax_agc(seed: int, shape: Any, scale: float) -> None:
    optax = pytest.importorskip("optax", reason="optax is not installed")
    (param,) = make(seed, [shape], scale)
    transform = optax.adaptive_grad_clip(0.01, eps=1e-3)
    weights = [to_optax(param)]
    updates, _ = transform.update([to_optax(param.grad)], transform.init(weights), weights)
    agc()(param)
    np.testing.assert_allclose(to_optax(param.grad), np.asarray(updates[0]), rtol=1e-5, atol=0)


def pair(weight: list[Any], grad: list[Any]) -> nn.Parameter:
    param = nn.Parameter(torch.tensor(weight))
    param.grad = torch.tensor(grad)
    return param


@pytest.mark.parametrize(
    ("by", "p", "measure", "expected"),
    [
        ("row", 2.0, "norm", [5.0, 0.1, 2.0, 0.1]),
        ("row", 1.0, "norm", [7.0, 0.1, 4.0, 0.1]),
        ("row", 2.0, "rms", [12.5**0.5, 0.1, 1.0, 0.1]),
        ("parameter", 2.0, "norm", [5.0, 2.0, 0.1]),
        ("parameter", math.inf, "norm", [4.0, 1.0, 0.1]),
        ("model", 2.0, "norm", [29**0.5]),
        ("model", 2.0, "rms", [(29 / 8) ** 0.5]),
    ],
)
def test_weights_are_measured_as_gradients_are(
    by: Any, p: float, measure: Any, expected: list[float]
) -> None:
    params = [pair([[3.0, -4.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]), pair([1.0] * 4, [1.0] * 4)]
    without_gradient = nn.Parameter(torch.full((3,), 99.0))
    clipper = ClipNorm(Relative(0.5, eps=0.1), by=by, norm_type=p, measure=measure)
    report = clipper([*params, without_gradient])
    assert report.thresholds.tolist() == pytest.approx([0.5 * e for e in expected])


@pytest.mark.parametrize("by", ["row", "parameter", "model"])
def test_zero_weights_are_not_frozen_and_zero_gradients_are_not_nan(by: Any) -> None:
    param = pair([[0.0, 0.0], [0.0, 0.0]], [[3.0, 4.0], [0.0, 0.0]])
    ClipNorm(Relative(0.01, eps=1e-3), by=by, eps=0)(param)
    assert param.grad.tolist() == [pytest.approx([0.6e-5, 0.8e-5]), [0.0, 0.0]]


@given(seed=st.integers(0, 10_000), scale=st.sampled_from([2.0, 0.5, 64.0]))
@settings(max_examples=20)
def test_scaling_weights_and_gradients_scales_the_result(seed: int, scale: float) -> None:
    first = make(seed, [(3, 5), (4,)], 1.0)
    second = copies(first)
    for param in second:
        param.data.mul_(scale)
        param.grad.mul_(scale)
    agc()(first)
    agc()(second)
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(b.grad, a.grad * scale, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_clipped_to_the_share(dtype: Any) -> None:
    param = nn.Parameter(torch.full((2, 8), 1.0, dtype=dtype))
    param.grad = torch.full((2, 8), 3.0, dtype=dtype)
    agc()(param)
    expected = torch.full((2, 8), 0.01, dtype=torch.float64).to(dtype)
    torch.testing.assert_close(param.grad, expected, rtol=torch.finfo(dtype).eps, atol=0)


def test_a_sparse_embedding_is_clipped_as_a_dense_one() -> None:
    embeddings = [nn.Embedding(5, 3, sparse=sparse) for sparse in (True, False)]
    for embedding in embeddings:
        embedding.weight.data.copy_(torch.arange(15.0).view(5, 3))
        embedding(torch.tensor([4, 0, 2, 2])).sum().backward()
        agc()(embedding)
    sparse, dense = (embedding.weight.grad for embedding in embeddings)
    torch.testing.assert_close(sparse.to_dense(), dense)
    assert dense[0].norm().item() == pytest.approx(0.01 * 5**0.5)


def test_the_head_can_be_left_alone() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    net(torch.ones(3, 4)).pow(2).sum().mul(1e3).backward()
    before = [param.grad.clone() for param in net.parameters()]
    agc(exclude=r"^1\.")(net)
    same = [torch.equal(p.grad, g) for p, g in zip(net.parameters(), before, strict=True)]
    assert same == [False, False, True, True]


@pytest.mark.parametrize("name", ["factor", "eps"])
@pytest.mark.parametrize("bad", [0, -1.0, math.inf, math.nan, True, "1", None])
def test_arguments_are_checked(name: str, bad: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be a finite number > 0, got ") as caught:
        Relative(**{name: bad})
    assert str(caught.value).endswith(f"got {bad!r}")
