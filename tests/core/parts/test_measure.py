"""Root mean squares and budgets: as Optax has them, and the sums that they promise."""

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

from gradclip_core import ClipNorm, NoClip

Holding = Callable[..., list[nn.Parameter]]
shapes = st.lists(st.lists(st.integers(1, 5), max_size=3), min_size=1, max_size=5)


def make(seed: int, shape_list: Any, scale: float = 1.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) * scale for shape in shape_list]


@given(st.integers(0, 10_000), shapes, st.floats(0.05, 5.0))
@settings(max_examples=8)
def test_rms_by_parameter_is_optax_clip_by_block_rms(
    holding: Holding, seed: int, shape_list: Any, bound: float
) -> None:
    optax = pytest.importorskip("optax", reason="optax is not installed")
    grads = make(seed, shape_list)
    params = holding(*grads)
    ClipNorm(bound, by="parameter", measure="rms", eps=0)(params)
    transform, arrays = optax.clip_by_block_rms(bound), [grad.numpy() for grad in grads]
    updates, _ = transform.update(arrays, transform.init(arrays))
    for param, update in zip(params, updates, strict=True):
        np.testing.assert_allclose(param.grad.numpy(), np.asarray(update), rtol=1e-5, atol=0)


@given(
    seed=st.integers(0, 10_000),
    shape_list=shapes,
    by=st.sampled_from(["model", "parameter", "row"]),
    p=st.sampled_from([1.0, 2.0, 3.0, math.inf]),
)
@settings(max_examples=50)
def test_the_rms_of_the_whole_comes_from_its_parts(
    holding: Holding, seed: int, shape_list: Any, by: Any, p: float
) -> None:
    grads = make(seed, shape_list)
    absent = nn.Parameter(torch.zeros(7))
    clipper = ClipNorm(0.5, by=by, norm_type=p, measure="rms", eps=0)
    params = [*holding(*grads), absent]
    report = clipper(params)
    before = np.concatenate([grad.numpy().ravel() for grad in grads]).astype(float)
    after = np.concatenate([param.grad.numpy().ravel() for param in params[:-1]]).astype(float)
    for norm, flat in ((report.norm, before), (report.clipped_norm, after)):
        expected = np.linalg.norm(flat, p) / flat.size ** (1 / p)
        assert norm.item() == pytest.approx(expected, rel=1e-5)
    each = [np.linalg.norm(g.numpy().ravel(), p) / g.numel() ** (1 / p) for g in grads]
    assert report.parameter_norms.tolist() == pytest.approx([*each, 0.0], rel=1e-5)


def test_the_rms_of_a_sparse_gradient_is_that_of_the_dense_one() -> None:
    norms = []
    for sparse in (True, False):
        embedding = nn.Embedding(6, 2, sparse=sparse)
        embedding(torch.tensor([1, 1, 5])).sum().backward()
        norms.append(NoClip(measure="rms")(embedding).norm.item())
    assert norms[0] == norms[1] == pytest.approx((10 / 12) ** 0.5)


@given(
    seed=st.integers(0, 10_000),
    shape_list=shapes,
    by=st.sampled_from(["model", "parameter", "row"]),
    budget=st.sampled_from(["equal", "size"]),
    p=st.sampled_from([1.0, 2.0, 3.0, math.inf]),
)
@settings(max_examples=80)
def test_a_shared_budget_bounds_the_whole_and_is_used_up(
    holding: Holding, seed: int, shape_list: Any, by: Any, budget: Any, p: float
) -> None:
    params = [*holding(*make(seed, shape_list, scale=1e4)), nn.Parameter(torch.zeros(7, 2))]
    report = ClipNorm(2.0, by=by, norm_type=p, budget=budget, eps=0)(params)
    flat = torch.cat([param.grad.double().flatten() for param in params[:-1]])
    assert torch.linalg.vector_norm(flat, p).item() <= 2.0 * (1 + 1e-5)
    if report.over[report.norms > 0].all():
        assert report.clipped_norm.item() == pytest.approx(2.0, rel=1e-5)


def test_shares_are_those_of_the_parts() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1), nn.Linear(1, 1))
    for param in net[:2].parameters():
        param.grad = torch.ones_like(param)
    thresholds = {
        budget: ClipNorm(6.0, by="module", budget=budget)(net).thresholds.tolist()
        for budget in ("each", "equal", "size")
    }
    assert thresholds["each"] == [6.0, 6.0, 6.0]
    assert thresholds["equal"] == pytest.approx([6 / 2**0.5, 6 / 2**0.5, 6.0])
    assert thresholds["size"] == pytest.approx([6 * (9 / 13) ** 0.5, 6 * (4 / 13) ** 0.5, 6.0])


@pytest.mark.parametrize("budget", ["equal", "size"])
def test_no_threshold_stays_no_threshold(holding: Holding, budget: Any) -> None:
    params = [*holding(torch.ones(3), torch.ones(2)), nn.Parameter(torch.ones(4))]
    report = ClipNorm(math.inf, by="parameter", budget=budget)(params)
    assert report.thresholds.tolist() == [math.inf] * 3
    assert params[0].grad.tolist() == [1.0] * 3


@pytest.mark.parametrize("bad", ["mean", None, 2])
def test_the_measure_is_checked(bad: Any) -> None:
    with pytest.raises(
        ValueError, match=f"^measure must be one of norm, rms, spectral, got {bad!r}$"
    ):
        NoClip(measure=bad)
