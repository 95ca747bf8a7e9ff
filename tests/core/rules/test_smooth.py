"""Responses of ClipNorm: the published formulas, their limits, and what reports say of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gradclip_core import ClipNorm, Percentile

Holding = Callable[..., list[nn.Parameter]]
SMOOTH = ["soft", "tanh", "huber", "normalize"]
EPS = {torch.float16: 2e-3, torch.bfloat16: 1e-2, torch.float32: 1e-5, torch.float64: 1e-12}


def published(response: str, n: float, c: float) -> float:
    """The norm that a gradient of norm n > 0 has afterwards."""
    return {
        "hard": min(n, c),
        "soft": n * c / (c + n),
        "tanh": c * np.tanh(n / c),
        "huber": n * (1 + (n / c) ** 4) ** (-1 / 4),
        "normalize": c,
    }[response]


@given(
    seed=st.integers(0, 10_000),
    response=st.sampled_from(["hard", *SMOOTH]),
    by=st.sampled_from(["model", "parameter", "row"]),
    measure=st.sampled_from(["norm", "rms"]),
    scale=st.sampled_from([1e-2, 1.0, 30.0]),
    dtype=st.sampled_from(list(EPS)),
    p=st.sampled_from([1.0, 2.0, math.inf]),
)
@settings(max_examples=150)
def test_each_part_is_scaled_as_published(
    holding: Holding,
    seed: int,
    response: Any,
    by: Any,
    measure: Any,
    scale: float,
    dtype: Any,
    p: float,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    grads = [(torch.randn(s, generator=generator) * scale).to(dtype) for s in ((3, 4), (5,))]
    params = holding(*grads)
    clipper = ClipNorm(0.7, by=by, measure=measure, norm_type=p, response=response, eps=0)
    report = clipper(params)
    before, after = parts(grads, by), parts([param.grad for param in params], by)
    assert len(before) == len(report.norms)
    for k, (old, new) in enumerate(zip(before, after, strict=True)):
        n = np.linalg.norm(old, p)
        n = n if measure == "norm" else n / old.size ** (1 / p)
        expected = published(response, n, 0.7)
        assert report.norms[k].item() == pytest.approx(n, rel=1e-6)
        assert report.clipped_norms[k].item() == pytest.approx(expected, rel=1e-6)
        assert report.over[k].item() == (n > 0.7)
        np.testing.assert_allclose(new, old * (expected / n), rtol=EPS[dtype], atol=1e-7)


def parts(grads: list[Tensor], by: str) -> list[Any]:
    arrays = [grad.double().numpy() for grad in grads]
    if by == "model":
        return [np.concatenate([array.ravel() for array in arrays])]
    if by == "parameter":
        return [array.ravel() for array in arrays]
    return [*arrays[0], arrays[1]]


@pytest.mark.parametrize("response", SMOOTH)
@pytest.mark.parametrize("by", ["model", "parameter", "row"])
def test_zero_stays_zero(holding: Holding, response: Any, by: Any) -> None:
    params = holding(torch.zeros(2, 2), torch.zeros(3))
    report = ClipNorm(1.0, response=response, by=by)(params)
    assert not any(param.grad.any() for param in params)
    assert report.clipped_norms.tolist() == [0.0] * len(report.norms)
    assert (report.coefficient.item(), report.clipped.item()) == (1.0, False)


@pytest.mark.parametrize("response", SMOOTH)
@pytest.mark.parametrize("scale", [1e30, 1e-30, 1e-44])
def test_huge_and_tiny_norms_stay_finite(holding: Holding, response: Any, scale: float) -> None:
    grad = torch.tensor([3.0, 4.0]) * scale
    (param,) = holding(grad)
    ClipNorm(1.0, response=response)(param)
    n = grad.double().norm().item()
    # To reach the norm 1 from 5e-44 takes a factor that float32 does not have.
    reachable = response != "normalize" or scale > 1e-40
    wanted = published(response, n, 1.0) if reachable else n * torch.finfo(torch.float32).max
    assert param.grad.double().norm().item() == pytest.approx(wanted, rel=1e-6, abs=2e-45)


@pytest.mark.parametrize("response", SMOOTH)
def test_without_a_threshold_nothing_changes(holding: Holding, response: Any) -> None:
    (param,) = holding(torch.tensor([3.0, 4.0]))
    report = ClipNorm(math.inf, response=response)(param)
    assert param.grad.tolist() == [3.0, 4.0]
    assert report.clipped.item() is False


@pytest.mark.parametrize("response", ["soft", "tanh", "huber"])
def test_smooth_clips_never_exceed_the_threshold_nor_grow(holding: Holding, response: Any) -> None:
    for norm in (1e-3, 0.5, 1.0, 2.0, 100.0, 1e20):
        (param,) = holding(torch.tensor([norm], dtype=torch.float64))
        ClipNorm(1.0, response=response)(param)
        assert 0 < param.grad.item() <= min(norm, 1.0)


@pytest.mark.parametrize("response", SMOOTH)
def test_scaling_gradient_and_threshold_scales_the_result(holding: Holding, response: Any) -> None:
    first, second = holding(torch.tensor([3.0, 1.0]), torch.tensor([24.0, 8.0]))
    ClipNorm(2.0, response=response)(first)
    ClipNorm(16.0, response=response)(second)
    torch.testing.assert_close(second.grad, first.grad * 8, rtol=1e-6, atol=0)


def test_a_sharper_huber_is_nearer_to_the_hard_clip(holding: Holding) -> None:
    left = []
    for sharpness in (1, 2, 8, 100):
        (param,) = holding(torch.tensor([2.0], dtype=torch.float64))
        ClipNorm(1.0, response="huber", sharpness=sharpness)(param)
        left.append(param.grad.item())
    assert left == sorted(left)
    assert left[0] == pytest.approx(2 / 3)
    assert left[-1] == pytest.approx(1.0)


@pytest.mark.parametrize("response", SMOOTH)
def test_clipped_means_over_the_threshold(holding: Holding, response: Any) -> None:
    clipper = ClipNorm(1.0, response=response)
    reports = [clipper(holding(torch.tensor([norm]))) for norm in (0.5, 2.0, 0.25, 1.0)]
    assert [report.clipped.item() for report in reports] == [False, True, False, False]
    assert reports[-1].clip_rate.item() == 0.25
    below = published(response, 0.5, 1.0) / 0.5
    assert reports[0].coefficient.item() == pytest.approx(below)


@pytest.mark.parametrize("response", SMOOTH)
@pytest.mark.parametrize("by", ["model", "row"])
def test_sparse_gradients_are_scaled_as_dense_ones(response: Any, by: Any) -> None:
    embeddings = [nn.Embedding(5, 3, sparse=sparse) for sparse in (True, False)]
    for embedding in embeddings:
        embedding.weight.data.fill_(0.1)
        embedding(torch.tensor([4, 0, 2, 2])).pow(2).sum().backward()
        ClipNorm(0.5, response=response, by=by)(embedding)
    sparse, dense = (embedding.weight.grad for embedding in embeddings)
    torch.testing.assert_close(sparse.to_dense(), dense)


@pytest.mark.parametrize("response", ["hard", *SMOOTH])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_bad_gradients_pass_as_torch_lets_them_pass(
    holding: Holding, response: Any, bad: float
) -> None:
    (ours,), (theirs,) = (holding(torch.tensor([bad, 1.0])) for _ in range(2))
    ClipNorm(1.0, response=response, nonfinite="pass")(ours)
    nn.utils.clip_grad_norm_(theirs, 1.0)
    torch.testing.assert_close(ours.grad, theirs.grad, equal_nan=True)


def spikes(holding: Holding, clipper: ClipNorm, norms: list[float]) -> list[float | None]:
    """What is left of one-element gradients of these norms."""
    left = []
    for norm in norms:
        (param,) = holding(torch.tensor([norm]))
        clipper(param)
        left.append(None if param.grad is None else param.grad.item())
    return left


def test_a_step_over_the_threshold_is_skipped_whole() -> None:
    net = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(net.parameters(), 0.1, weight_decay=0.1)
    net(torch.ones(1, 2)).sum().mul(1e-3).backward()
    clipper = ClipNorm(1.0, by="parameter", response="skip", exclude="^bias")
    clipper(net)
    optimizer.step()
    before = copy.deepcopy((net.state_dict(), optimizer.state_dict()))
    net(torch.ones(1, 2)).sum().mul(1e3).backward()
    report = clipper(net)
    optimizer.step()
    torch.testing.assert_close((net.state_dict(), optimizer.state_dict()), before, rtol=0, atol=0)
    assert [param.grad for param in net.parameters()] == [None, None]
    row = report.as_dict()
    assert (row["skipped"], row["clipped"], row["threshold"]) == (True, True, 1.0)
    assert (row["clipped_norm"], row["coefficient"], row["clip_rate"]) == (0.0, 0.0, 0.5)


def test_after_max_skips_in_a_row_it_clips(holding: Holding) -> None:
    clipper = ClipNorm(1.0, response="skip", max_skips=2, eps=0)
    left = spikes(holding, clipper, [9.0, 9.0, 9.0, 9.0, 0.5, 9.0, 0.5, 9.0, 9.0, 9.0])
    assert left == [None, None, 1.0, 1.0, 0.5, None, 0.5, None, None, 1.0]


def test_without_max_skips_it_skips_for_ever(holding: Holding) -> None:
    assert spikes(holding, ClipNorm(1.0, response="skip"), [9.0] * 50) == [None] * 50


def test_skips_resume_where_they_stopped(holding: Holding) -> None:
    def make() -> ClipNorm:
        return ClipNorm(Percentile(75), response="skip", max_skips=2)

    generator = torch.Generator().manual_seed(5)
    norms = (torch.rand(300, generator=generator) * 4).exp().tolist()
    whole = spikes(holding, make(), norms)
    first, second = make(), make()
    halves = spikes(holding, first, norms[:150])
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert whole == halves + spikes(holding, second, norms[150:])
    assert 0 < whole.count(None) < 150


def test_non_finite_steps_are_the_guards_and_no_spikes(holding: Holding) -> None:
    clipper = ClipNorm(1.0, response="skip", max_skips=1)
    spikes(holding, clipper, [math.nan, math.inf])
    assert clipper.consecutive_skips.item() == 0
    assert clipper.guard.consecutive.item() == 2


RESPONSES = "one of hard, soft, tanh, huber, normalize, skip, clamp, soft_clamp"
BAD_ARGUMENTS: list[tuple[str, Any, str]] = [
    *[("response", v, RESPONSES) for v in ("", None, 1)],
    *[("measure", v, "one of norm, rms, spectral") for v in ("mean", None, 2)],
    *[("budget", v, "one of each, equal, size") for v in ("all", None, True)],
    *[("sharpness", v, "a finite number > 0") for v in (0, -1, math.inf, math.nan, True, "2")],
    *[("max_skips", v, "an integer >= 1 or None") for v in (0, -1, 1.5, True, "3")],
    ("max_skips", 3, "None with response='hard'"),
]


@pytest.mark.parametrize(("name", "bad", "allowed"), BAD_ARGUMENTS)
def test_arguments_are_checked(name: str, bad: Any, allowed: str) -> None:
    with pytest.raises(ValueError) as caught:
        ClipNorm(1.0, **{name: bad})
    assert str(caught.value) == f"{name} must be {allowed}, got {bad!r}"


def test_budgets_of_root_mean_squares_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^budget must be 'each' with measure='rms', got 'size'$"):
        ClipNorm(1.0, measure="rms", budget="size")
