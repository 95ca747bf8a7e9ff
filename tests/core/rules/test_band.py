"""Bands: what norms are left, under which limits, and AGGC by the published rule."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gradclip_core import (
    Band,
    ClipNorm,
    ClippedEma,
    ClipUpdate,
    ClipValue,
    Ema,
    Fixed,
    Median,
    Percentile,
    Relative,
    Scheduled,
    SkipOnSpike,
    Threshold,
    ZScore,
)
from gradclip_core.functional import clip_gradients
from tests.presets import preset

Holding = Callable[..., list[nn.Parameter]]
THRESHOLDS: dict[str, Callable[[], Threshold]] = {
    "fixed": lambda: Fixed(1.0),
    "percentile": lambda: Percentile(50),
    "median": lambda: Median(1.1),
    "ema": lambda: Ema(1.2),
    "clipped ema": lambda: ClippedEma(1.2),
    "z-score": lambda: ZScore(1.0, warmup_steps=2, cap=None),
    "relative": lambda: Relative(0.5),
    "scheduled": lambda: Scheduled(Ema(1.2), decay_steps=5, end=0.5),
}


@given(
    kind=st.sampled_from(list(THRESHOLDS)),
    by=st.sampled_from(["model", "parameter", "row"]),
    response=st.sampled_from(["hard", "soft", "tanh", "huber", "normalize"]),
    sizes=st.lists(st.floats(1e-6, 1e6), min_size=3, max_size=6),
    lower=st.floats(0.0, 1.0),
    min_norm=st.sampled_from([0.0, 1e-3, 2.0]),
    limits=st.sampled_from([(0.0, math.inf), (0.9, 1.1), (0.5, math.inf), (0.0, 1.0)]),
)
@settings(max_examples=60, deadline=None)
def test_norms_lie_in_the_band_unless_a_limit_binds(
    holding: Holding,
    kind: str,
    by: Any,
    response: Any,
    sizes: list[float],
    lower: float,
    min_norm: float,
    limits: tuple[float, float],
) -> None:
    band = Band(lower, min_norm, *limits)
    clipper = ClipNorm(THRESHOLDS[kind](), by=by, response=response, band=band, eps=0)
    for step, size in enumerate(sizes):
        generator = torch.Generator().manual_seed(step)
        grads = [torch.randn(s, generator=generator).double() * size for s in ((2, 3), (4,))]
        report = clipper(holding(*grads))
        for n, left, tau in zip(
            report.norms.tolist(),
            report.clipped_norms.tolist(),
            report.thresholds.tolist(),
            strict=True,
        ):
            least = min(tau, max(min_norm, lower * tau if tau < math.inf else 0.0))
            assert limits[0] * n * (1 - 1e-9) <= left <= limits[1] * n * (1 + 1e-9)
            if n * limits[1] > least:
                assert left >= least * (1 - 1e-9)
            # Smooth responses stay below the threshold, too.
            if n * limits[0] < tau:
                assert left <= tau * (1 + 1e-9)


@pytest.mark.parametrize("by", ["model", "parameter", "row"])
@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
def test_what_is_not_usable_is_not_lifted_and_not_learnt(
    holding: Holding, by: Any, bad: float
) -> None:
    clipper = ClipNorm(ClippedEma(1.5), by=by, band=Band(lower=0.9, min_norm=1.0), nonfinite="pass")
    for size in (2.0, 2.0):
        clipper(holding(torch.tensor([0.0, size])))
    before = clipper.threshold.mean.clone()
    (param,) = holding(torch.full((2,), bad))
    report = clipper([param])
    assert param.grad is not None
    if bad == 0.0:
        assert torch.equal(param.grad, torch.zeros(2))
        assert report.lifted_share.item() == 0
    assert torch.equal(clipper.threshold.mean, before)


def test_a_lift_is_no_clip(holding: Holding) -> None:
    clipper = ClipNorm(2.0, by="parameter", band=Band(lower=0.5))
    report = clipper(holding(torch.tensor([0.1]), torch.tensor([9.0]), torch.tensor([1.5])))
    assert report.clipped_norms.tolist() == pytest.approx([1.0, 2.0, 1.5], rel=1e-6)
    assert report.clipped_share.item() == pytest.approx(1 / 3)
    assert report.lifted_share.item() == pytest.approx(1 / 3)


def test_no_lift_makes_a_gradient_infinite(holding: Holding) -> None:
    (param,) = holding(torch.tensor([1e-44, 0.0]))
    ClipNorm(1.0, band=Band(lower=1.0))([param])
    assert param.grad is not None
    assert param.grad.isfinite().all()
    assert param.grad[0] > 1e-8


def test_a_share_may_depend_on_the_step(holding: Holding) -> None:
    share = Scheduled(0.2, warmup_steps=2, start=1.0, decay_steps=2, end=3.0, shape="linear")
    for clipper in (ClipNorm(10.0, band=Band(share)), ClipNorm(10.0, band=Band(share), by="row")):
        share.step.zero_()
        left = [clipper(holding(torch.tensor([1.0]))).clipped_norm.item() for _ in range(6)]
        assert left == pytest.approx([2.0, 2.0, 2.0, 4.0, 6.0, 6.0], rel=1e-6)


def test_an_update_is_lifted_too() -> None:
    model = nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    clipper = ClipUpdate(1.0, band=Band(min_norm=0.5)).attach(optimizer=optimizer)
    before = model.weight.detach().clone()
    model.weight.grad = torch.tensor([[0.3, 0.4]])
    clipper(model)
    optimizer.step()
    torch.testing.assert_close(before - model.weight, torch.tensor([[0.3, 0.4]]))


def test_gradients_outside_of_grad_have_the_band_too() -> None:
    weight = torch.tensor([0.3, 0.4], requires_grad=True)
    (left,) = clip_gradients([weight], ClipNorm(2.0, band=Band(lower=0.5)))
    torch.testing.assert_close(left, torch.tensor([0.6, 0.8]))
    left[0].backward()  # a lift to the norm 1: d(x / |x|) / dx
    torch.testing.assert_close(weight.grad, torch.tensor([1.28, -0.96]))
    with pytest.raises(ValueError, match="lower must be a number for gradients outside"):
        clip_gradients([weight], ClipNorm(2.0, band=Band(Scheduled(0.5, decay_steps=2))))


@pytest.mark.parametrize("key", ["lower", "min_factor"])
@pytest.mark.parametrize("bad", [-0.1, 1.5, math.nan, True, "0.5", None, Ema()])
def test_shares_are_checked(key: str, bad: Any) -> None:
    with pytest.raises(ValueError, match=f"^{key} must be from 0 to 1"):
        Band(**{key: bad})


def test_other_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match=r"^min_norm must be a finite number >= 0, got -1$"):
        Band(min_norm=-1)
    with pytest.raises(ValueError, match=r"^max_factor must be a number >= 1, got 0.9$"):
        Band(max_factor=0.9)
    with pytest.raises(ValueError, match=r"^lower must be .* got Scheduled\(Ema"):
        Band(Scheduled(Ema()))
    with pytest.raises(ValueError, match=r"^band must be a Band or None, got 0.5$"):
        ClipNorm(1.0, band=0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^loss must not be a ClippedEma"):
        SkipOnSpike(ClippedEma())


@pytest.mark.parametrize("make", [ClipNorm, ClipValue])
def test_an_average_that_could_only_fall_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r"^factor must be > 1 in ClippedEma.*; got 0.6$"):
        make(Scheduled(ClippedEma(0.6), decay_steps=10))
    ClipNorm(ClippedEma(0.6), band=Band(min_factor=0.9))


def aggc(norms: list[float], first: float, late: float, switch: int, width: int) -> list[float]:
    """The norms that the published rule leaves, from an average that is corrected for the start."""
    sums, weights, left = 0.0, 0.0, []
    for step, n in enumerate(norms):
        move = min(max((step - switch) / width, 0.0), 1.0)
        high = first * (1 - move) + late * move
        upper = high * sums / weights if weights else math.inf
        factor = max(upper / n, 0.9) if n > upper else 1.0
        left.append(n * factor)
        sums, weights = 0.95 * sums + 0.05 * left[-1], 0.95 * weights + 0.05
    return left


def test_the_preset_is_the_published_rule(holding: Holding) -> None:
    from hydra.utils import instantiate

    clipper = instantiate(preset("aggc"), _convert_="all")
    generator = torch.Generator().manual_seed(0)
    norms = torch.exp(0.5 * torch.randn(800, generator=generator, dtype=torch.float64)).tolist()
    norms[500:] = [0.3 * n for n in norms[500:]]
    left = []
    for n in norms:
        (param,) = holding(torch.tensor([n], dtype=torch.float64))
        left.append(clipper([("layer.weight", param)]).clipped_norm.item())
    # The preset writes 0.7 / 0.6 with five digits, and adds PyTorch's 1e-6 to a norm.
    assert left == pytest.approx(aggc(norms, 0.6, 0.7, 400, 300), rel=1e-4)
    assert 0 < clipper.clipped_steps.item() < 800


def test_singular_values_that_are_clamped_have_no_band() -> None:
    with pytest.raises(ValueError, match=r"^band must be None with response='clamp'"):
        ClipNorm(1.0, by="parameter", measure="spectral", response="clamp", band=Band(0.5))


def test_a_matrix_is_lifted_by_its_largest_singular_value(holding: Holding) -> None:
    clipper = ClipNorm(2.0, by="parameter", measure="spectral", band=Band(lower=0.5))
    (param,) = holding(torch.diag(torch.tensor([0.1, 0.05])))
    clipper([param])
    torch.testing.assert_close(param.grad, torch.diag(torch.tensor([1.0, 0.5])))


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("threshold", [Fixed(2.0), ClippedEma(1.2)], ids=["fixed", "learnt"])
def test_a_fused_step_lifts_as_the_clipper_does(threshold: Threshold, scaled: bool) -> None:
    nets = [nn.Linear(3, 2, bias=False) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    band = Band(lower=0.8, min_norm=0.5, max_factor=30.0)
    clippers = [ClipNorm(copy.deepcopy(threshold), band=copy.deepcopy(band)) for _ in nets]
    steps = [torch.optim.SGD(net.parameters(), 0.1, fused=fused) for net, fused in both(nets)]
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, enabled=scaled)
    assert clippers[0].fold_into(steps[0], scaler if scaled else None)
    scaler.scale(torch.ones(()))
    paths = []
    for size in (1.0, 1e-3, 40.0, 0.0, 1.0):
        grad = torch.arange(6.0).view(2, 3) * size
        nets[0].weight.grad = grad * scaler.get_scale()
        nets[1].weight.grad = grad.clone()
        reports = [clipper(net) for clipper, net in zip(clippers, nets, strict=True)]
        scaler.step(steps[0])
        scaler.update()
        steps[1].step()
        torch.testing.assert_close(nets[0].weight, nets[1].weight)
        torch.testing.assert_close(reports[0].clipped_norms, reports[1].clipped_norms)
        paths.append(reports[0].path)
    assert "folded" in paths


def both(nets: list[nn.Linear]) -> list[tuple[nn.Linear, bool]]:
    return list(zip(nets, (True, False), strict=True))


def test_an_update_after_clipping_is_averaged(holding: Holding) -> None:
    (param,) = holding(torch.tensor([3.0, 4.0]))
    optimizer = torch.optim.SGD([param], lr=1.0)
    clipper = ClipUpdate(ClippedEma(1.5)).attach(optimizer=optimizer)
    for size, left in ((1.0, 5.0), (10.0, 7.5), (0.0, 0.0), (1.0, 5.0)):
        param.grad = size * torch.tensor([3.0, 4.0])
        clipper([param])
        optimizer.step()
        assert clipper.last_report is not None
        assert clipper.last_report.clipped_norm.item() == pytest.approx(left, rel=1e-5)
    assert clipper.threshold.count.item() == 3
