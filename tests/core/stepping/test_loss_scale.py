"""Folding under a GradScaler: the weights of unscale, clip, step, with neither pass of its own."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.amp import GradScaler
from torch.optim import SGD, Optimizer

from gradclip_core import ClipNorm, Ema, NonFiniteGradientError, Percentile, Scheduled
from tests.core.stepping.test_fused_scale import CLIPPERS, FUSED, assert_close, gradients, make_net

SCALE, STEPS, OVERFLOWS = 64.0, 14, (0, 5)


def scaled_gradients(net: nn.Module, scaler: GradScaler, step: int) -> None:
    """As `gradients`, times the loss scale; inf or NaN at some steps, the first among them."""
    gradients(net, step)
    scale = scaler.scale(torch.ones(())).item()
    for param in net.parameters():
        param.grad *= scale
    if step in OVERFLOWS:
        param.grad.view(-1)[0] = math.inf if step else math.nan


def train(make: Any, clipper: ClipNorm, *, unscale: bool, fold: bool = True) -> tuple[Any, ...]:
    net, scaler = make_net(), GradScaler("cpu", init_scale=SCALE, growth_interval=6)
    optimizer = make(net.parameters())
    if fold:
        assert clipper.fold_into(optimizer, scaler)
    reports = []
    for step in range(STEPS):
        scaled_gradients(net, scaler, step)
        if unscale:
            scaler.unscale_(optimizer)
        reports.append(clipper(net))
        scaler.step(optimizer)
        scaler.update()
        assert not hasattr(optimizer, "grad_scale")
        assert not hasattr(optimizer, "found_inf")
    return net, reports, scaler.get_scale(), dict(clipper.state_dict())


@pytest.mark.parametrize("unscale", [False, True])
@pytest.mark.parametrize("name", [*CLIPPERS, "scheduled"])
@pytest.mark.parametrize("kind", FUSED)
def test_weights_reports_state_and_scale_are_those_of_unscaling(
    kind: str, name: str, unscale: bool
) -> None:
    def make() -> ClipNorm:
        return CLIPPERS[name]() if name in CLIPPERS else ClipNorm(Scheduled(1.0, 4))

    ours = train(lambda p: FUSED[kind](p, fused=True), make(), unscale=unscale)
    theirs = train(lambda p: FUSED[kind](p, foreach=True), make(), unscale=True, fold=False)
    assert_close(ours[0], theirs[0])
    for one, two in zip(ours[1], theirs[1], strict=True):
        for field in ("norms", "clipped_norms", "thresholds", "parameter_norms", "skipped"):
            torch.testing.assert_close(
                getattr(one, field), getattr(two, field), rtol=1e-6, atol=0, equal_nan=True
            )
    assert ours[2] == theirs[2] == SCALE / 2  # halved twice, doubled once
    torch.testing.assert_close(ours[3], theirs[3], rtol=1e-6, atol=0)
    assert "folded" in {report.path for report in ours[1]}


def test_gradients_are_read_once_and_unscaled_by_the_kernel() -> None:
    net, scaler = make_net(), GradScaler("cpu", init_scale=SCALE)
    optimizer, clipper = FUSED["adamw"](net.parameters(), fused=True), ClipNorm(1.0)
    clipper.fold_into(optimizer, scaler)
    scaled_gradients(net, scaler, 1)
    before = [param.grad.clone() for param in net.parameters()]
    with torch.profiler.profile() as profile:
        clipper(net)
        scaler.step(optimizer)
    made = {event.key for event in profile.key_averages()}
    assert "aten::_fused_adamw_" in made
    assert not [name for name in made if "unscale" in name or "_foreach_mul" in name]
    scaled = [param.grad / grad for param, grad in zip(net.parameters(), before, strict=True)]
    factor = 1 / SCALE / clipper.last_report.norm.item()
    torch.testing.assert_close(torch.cat([s.flatten() for s in scaled]).mean().item(), factor)


@pytest.mark.parametrize(
    ("dtype", "threshold", "policy"),
    [
        (torch.float64, 1.0, "skip"),
        (torch.float32, 1.0, "zero"),
        (torch.float32, Scheduled(1.0), "skip"),
    ],
)
def test_what_the_step_cannot_take_is_unscaled_first(
    dtype: torch.dtype, threshold: Any, policy: Any
) -> None:
    param = nn.Parameter(torch.zeros(2, dtype=dtype))
    optimizer, scaler = SGD([param], 1.0, fused=True), GradScaler("cpu", init_scale=8.0)
    clipper = ClipNorm(threshold, eps=0, nonfinite=policy)
    clipper.fold_into(optimizer, scaler)
    scaler.scale((param * torch.tensor([30.0, 40.0], dtype=dtype)).sum()).backward()
    report = clipper([param])
    torch.testing.assert_close(report.norm.item(), 50.0)
    scaler.step(optimizer)
    assert param.tolist() == pytest.approx([-0.6, -0.8])


def test_a_gradient_that_lies_otherwise_in_memory_is_unscaled_and_clipped_in_place() -> None:
    param = nn.Parameter(torch.zeros(2, 3))
    optimizer, scaler = SGD([param], 1.0, fused=True), GradScaler("cpu", init_scale=8.0)
    clipper = ClipNorm(1.0, eps=0)
    clipper.fold_into(optimizer, scaler)
    scale = scaler.scale(torch.ones(())).item()
    param.grad = (torch.arange(6.0).view(3, 2).t() * scale).clone()
    whole = param.grad / scale
    report = clipper([param])
    assert report.path == "in place"
    torch.testing.assert_close(param.grad, whole / whole.norm())


def test_groups_that_are_not_all_in_the_clippers_hands_are_unscaled_and_left_to_the_step() -> None:
    seen, unseen = (nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizer = SGD([{"params": [seen]}, {"params": [unseen], "lr": 0.5}], 1.0, fused=True)
    scaler, clipper = GradScaler("cpu", init_scale=8.0), ClipNorm(1.0, eps=0)
    clipper.fold_into(optimizer, scaler)
    for both in (False, True):
        with torch.no_grad():
            seen.zero_(), unseen.zero_()
        optimizer.zero_grad()
        scaler.scale(3 * seen.sum() + 4 * unseen.sum()).backward()
        path = clipper([seen, unseen] if both else [seen]).path
        scaler.step(optimizer)
        scaler.update()
        assert path == ("folded" if both else "in place")
        assert [seen.item(), unseen.item()] == pytest.approx([-0.6, -0.4] if both else [-1, -2])


def test_a_scale_of_ones_own_and_the_scalers_are_both_divided_by() -> None:
    param = nn.Parameter(torch.zeros(2))
    optimizer, scaler = SGD([param], 1.0, fused=True), GradScaler("cpu", init_scale=8.0)
    optimizer.grad_scale = torch.tensor(4.0)  # type: ignore[attr-defined]
    clipper = ClipNorm(1.0, eps=0)
    clipper.fold_into(optimizer, scaler)
    scaler.scale((param * torch.tensor([30.0, 40.0])).sum()).backward()
    clipper([param])
    scaler.step(optimizer)
    assert param.tolist() == pytest.approx([-0.15, -0.2])


def test_a_disabled_scaler_changes_nothing() -> None:
    param = nn.Parameter(torch.zeros(2))
    optimizer, scaler = SGD([param], 1.0, fused=True), GradScaler("cpu", enabled=False)
    clipper = ClipNorm(1.0, eps=0)
    clipper.fold_into(optimizer, scaler)
    scaler.scale((param * torch.tensor([30.0, 40.0])).sum()).backward()
    assert clipper([param]).path == "folded"
    scaler.step(optimizer)
    scaler.update()
    assert param.tolist() == pytest.approx([-0.6, -0.8])


def test_the_policy_raise_stops_at_an_overflow() -> None:
    net, scaler = make_net(), GradScaler("cpu", init_scale=SCALE)
    optimizer = FUSED["adamw"](net.parameters(), fused=True)
    clipper = ClipNorm(1.0, nonfinite="raise")
    clipper.fold_into(optimizer, scaler)
    scaled_gradients(net, scaler, 0)
    with pytest.raises(NonFiniteGradientError, match="1 NaN"):
        clipper(net)
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == SCALE / 2


THRESHOLDS: dict[str, Callable[[], Any]] = {
    "fixed": lambda: 1.0,
    "percentile": lambda: Percentile(30.0),
    "ema": lambda: Ema(1.1),
}


@pytest.fixture
def _as_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the optimizer's step skip what is not finite, as where a read would wait for a device."""
    monkeypatch.setattr("gradclip_core.guards.Guard.can_wait", lambda guard, device: True)
    monkeypatch.setattr("gradclip_core.rules.rule.Rule._try_fast", lambda rule, gradients: None)


@pytest.mark.usefixtures("_as_on_a_device")
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("kind", FUSED)
def test_a_skip_in_the_step_is_the_skip_of_the_guard(
    kind: str, threshold: str, scaled: bool
) -> None:
    net, twin = make_net(), make_net()
    made = [FUSED[kind](net.parameters(), fused=True), FUSED[kind](twin.parameters(), foreach=True)]
    clippers = [ClipNorm(THRESHOLDS[threshold]()) for _ in range(2)]
    scalers = [GradScaler("cpu", init_scale=SCALE, enabled=scaled) for _ in range(2)]
    assert clippers[0].fold_into(made[0], scalers[0])
    for step in range(STEPS):
        for one, scaler in zip((net, twin), scalers, strict=True):
            scaled_gradients(one, scaler, step)
        scalers[1].unscale_(made[1])
        reports = [clip(one) for clip, one in zip(clippers, (net, twin), strict=True)]
        if step in OVERFLOWS:
            assert net[0].weight.grad is not None, "nothing is read, so nothing is removed"
        for scaler, optimizer in zip(scalers, made, strict=True):
            scaler.step(optimizer)
            scaler.update()
        for field in ("norms", "clipped_norms", "thresholds", "over", "skipped", "clip_rate"):
            ours, theirs = (getattr(report, field) for report in reports)
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0, equal_nan=True)
    assert_close(net, twin)
    states = [dict(clipper.state_dict()) for clipper in clippers]
    torch.testing.assert_close(*states, rtol=1e-6, atol=0)
    assert scalers[0].get_scale() == scalers[1].get_scale()


@pytest.mark.usefixtures("_as_on_a_device")
@pytest.mark.parametrize("dampening", [0.0, 0.5])
def test_a_first_step_of_momentum_that_is_skipped_leaves_no_garbage(dampening: float) -> None:
    param = nn.Parameter(torch.zeros(1000))
    optimizer = SGD([param], 1.0, momentum=0.9, dampening=dampening, fused=True)
    clipper = ClipNorm(1e9)
    clipper.fold_into(optimizer)
    for grad in (math.nan, 1.0, 1.0):
        param.grad = torch.full_like(param, grad)
        assert bool(clipper([param]).skipped) is math.isnan(grad)
        optimizer.step()
    torch.testing.assert_close(param.detach(), torch.full_like(param, -2.9 + dampening))


@pytest.mark.usefixtures("_as_on_a_device")
def test_a_sign_to_skip_of_ones_own_is_heeded_and_put_back() -> None:
    param = nn.Parameter(torch.zeros(1))
    optimizer: Optimizer = SGD([param], 1.0, fused=True)
    clipper = ClipNorm(1e9)
    clipper.fold_into(optimizer)
    optimizer.found_inf = mine = torch.tensor(1.0)  # type: ignore[attr-defined]
    for grad in (math.inf, 1.0):
        param.grad = torch.tensor([grad])
        clipper([param])
        optimizer.step()
        assert param.item() == 0.0
        assert optimizer.found_inf is mine  # type: ignore[attr-defined]
    mine.zero_()
    clipper([param])
    optimizer.step()
    assert param.item() == -1.0
    assert copy.copy(mine).item() == 0.0
