"""Steps that the optimizer skips by a flag: those that the guard would skip on the host."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, AdamW

from gradclip_core import ClipNorm, Clipper, ClipValue, Median, Percentile, UClip, chain
from gradclip_core import clip_in_step as put_in_step

KINDS: dict[str, Any] = {
    "adam": (Adam, {"lr": 0.02}),
    "adamw": (AdamW, {"lr": 0.02}),
    "sgd": (SGD, {"lr": 0.1, "momentum": 0.9}),
    "adagrad": (Adagrad, {"lr": 0.1}),
}
RULES: dict[str, Callable[[], Clipper]] = {
    "norm": lambda: ClipNorm(0.5),
    "history": lambda: ClipNorm(Percentile(30)),
    "each": lambda: ClipNorm(Median(1.0), by="parameter"),
    "rows": lambda: ClipNorm(0.2, by="row"),
    "exclude": lambda: ClipNorm(0.2, exclude=r"^2"),
    "value": lambda: ClipValue(0.05),
    "soft": lambda: ClipNorm(0.5, response="soft"),
    "skip": lambda: ClipNorm(4.0, response="skip", max_skips=1),
    "skip any number": lambda: ClipNorm(4.0, response="skip"),
    "chain": lambda: chain(ClipValue(0.5), ClipNorm(0.5, by="parameter")),
    "carry": lambda: UClip(ClipNorm(0.5)),
}


@pytest.fixture
def _as_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the optimizer's step skip what is not finite, as where a read would wait for a device."""
    monkeypatch.setattr(
        "gradclip_core.guards.Guard.can_wait",
        lambda guard, device: guard.policy == "skip" and guard.patience is None,
    )
    monkeypatch.setattr("gradclip_core.rules.rule.Rule._try_fast", lambda rule, gradients: None)


class Training:
    def __init__(self, kind: str, clipper: Clipper, fused: bool, in_step: bool) -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        base, settings = KINDS[kind]
        self.optimizer = base(self.net.parameters(), fused=fused, foreach=None, **settings)
        self.clipper, self.in_step = clipper, in_step
        if in_step:
            put_in_step(self.optimizer, clipper).attach(model=self.net)
        else:
            clipper.attach(model=self.net, optimizer=self.optimizer)
        self.reports: list[dict[str, Any]] = []

    def step(self, i: int) -> None:
        self.optimizer.zero_grad()
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(i))
        (self.net(x) * (10 if i % 3 else 30)).square().mean().backward()
        if i in (0, 4, 5):
            bad: Tensor = self.net[2].bias.grad
            bad[0] = math.nan if i else math.inf
        if not self.in_step:
            self.clipper(self.net)
        self.optimizer.step()
        assert self.clipper.last_report is not None
        self.reports.append(self.clipper.last_report.as_dict())


@pytest.mark.usefixtures("_as_on_a_device")
@pytest.mark.parametrize("in_step", [False, True])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_skip_of_the_guard(kind: str, rule: str, in_step: bool) -> None:
    ours = Training(kind, RULES[rule](), True, in_step)
    theirs = Training(kind, RULES[rule](), False, in_step)  # not fused: the host has to know
    for i in range(9):
        before = copy.deepcopy(ours.net.state_dict())
        for training in (ours, theirs):
            training.step(i)
        # Two float32 orders of one step, over at most nine.
        torch.testing.assert_close(
            ours.net.state_dict(), theirs.net.state_dict(), rtol=1e-4, atol=1e-5
        )
        if i in (0, 4, 5):
            torch.testing.assert_close(ours.net.state_dict(), before, rtol=0, atol=0)
            assert (ours.net[0].weight.grad is None) == (rule in ("carry", "chain"))
    for one, other in zip(ours.reports, theirs.reports, strict=True):
        for key in ("skipped", "clipped", "clip_rate"):
            assert one[key] == other[key], key
        assert one["norm"] == pytest.approx(other["norm"], rel=1e-4, nan_ok=True)
    torch.testing.assert_close(
        ours.clipper.state_dict(), theirs.clipper.state_dict(), rtol=1e-4, atol=1e-5
    )
    assert not hasattr(ours.optimizer, "found_inf")


@pytest.mark.usefixtures("_as_on_a_device")
def test_a_step_of_other_gradients_too_is_not_skipped_as_a_whole() -> None:
    net = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    optimizer = SGD(net.parameters(), 0.1, fused=True)
    clipper = ClipNorm(1.0).attach(optimizer=optimizer)
    for param in net.parameters():
        param.grad = torch.full_like(param, math.nan if param is net[0].weight else 1.0)
    before = net[1].weight.detach().clone()
    clipper(net[0])
    assert net[0].weight.grad is None
    optimizer.step()
    torch.testing.assert_close(net[1].weight.detach(), before - 0.1)


@pytest.mark.usefixtures("_as_on_a_device")
def test_a_flag_of_the_users_own_counts_and_comes_back_and_detaching_leaves_nothing() -> None:
    param = nn.Parameter(torch.ones(2))
    optimizer: Any = SGD([param], 0.1, fused=True)
    keys = set(vars(optimizer))
    clipper = ClipNorm(1.0).attach(optimizer=optimizer)
    optimizer.found_inf = own = torch.ones(())
    param.grad = torch.ones(2)
    clipper([param])
    optimizer.step()
    assert optimizer.found_inf is own
    torch.testing.assert_close(param.detach(), torch.ones(2))
    del optimizer.found_inf
    clipper.detach()
    assert set(vars(optimizer)) == keys
    optimizer.step()
    assert (param.detach() < 1).all()
