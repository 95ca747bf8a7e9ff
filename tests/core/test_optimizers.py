"""Optimizers that clip: the weights of loops written by hand, copies, state, scalers, closures."""

from __future__ import annotations

import copy
import inspect
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from gradclip_core import (
    ClipNorm,
    ClipUpdate,
    ClipValue,
    NonFiniteGradientError,
    Spam,
    optimizers,
)
from gradclip_core.optimizers import clipped
from tests.tolerances import of_training

NAMES = ["ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam"]
NAMES += ["RMSprop", "Rprop", "SGD"]
MUON = ["Muon"] if hasattr(torch.optim, "Muon") else []  # since torch 2.9
STEPS = 10


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))


def loss_of(net: Any, step: int) -> Tensor:
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step)).to(net[0].weight)
    loss: Tensor = net(x).square().mean() * (30.0 if step % 3 == 0 else 1.0)
    return loss


def backward(net: nn.Module, optimizer: Optimizer, step: int) -> Tensor:
    optimizer.zero_grad()
    loss = loss_of(net, step)
    loss.backward()
    return loss


def assert_same(one: nn.Module, other: nn.Module, **tolerance: float) -> None:
    exact = {"rtol": 0.0, "atol": 0.0}
    torch.testing.assert_close(one.state_dict(), other.state_dict(), **(tolerance or exact))


@pytest.mark.filterwarnings("ignore:Rprop makes steps of one size")
@pytest.mark.parametrize("with_closure", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_equals_clipping_by_hand(name: str, with_closure: bool) -> None:
    # In float64: the first steps divide gradients, however small, by their own size, and with them
    # their rounding, which no tolerance for float32 could bound.
    net = make_net().double()
    twin = copy.deepcopy(net)
    ours = getattr(optimizers, name)(net.parameters(), lr=0.02, clipper=ClipNorm(0.3))
    theirs = getattr(torch.optim, name)(twin.parameters(), lr=0.02)
    for step in range(STEPS):
        if with_closure:
            returned = ours.step(lambda step=step: backward(net, ours, step))
            assert returned.item() == pytest.approx(loss_of(twin, step).item(), rel=1e-9)
        else:
            backward(net, ours, step)
            ours.step()
        backward(twin, theirs, step)
        nn.utils.clip_grad_norm_(twin.parameters(), 0.3)
        theirs.step()
    assert_same(net, twin, rtol=1e-9, atol=1e-9)
    assert ours.clipper.steps.item() == STEPS
    assert 0 < ours.last_report.clip_rate <= 1


@pytest.mark.filterwarnings("ignore:LBFGS takes the curvature")
@pytest.mark.parametrize("line_search", [None, "strong_wolfe"])
def test_lbfgs_clips_each_evaluation_of_its_closure(line_search: str | None) -> None:
    net = make_net().double()
    twin = copy.deepcopy(net)
    setting: dict[str, Any] = {"lr": 0.1, "max_iter": 5, "line_search_fn": line_search}
    ours = optimizers.LBFGS(net.parameters(), clipper=ClipNorm(0.05), **setting)
    theirs = torch.optim.LBFGS(twin.parameters(), **setting)
    evaluations = 0

    def by_hand() -> Tensor:
        nonlocal evaluations
        evaluations += 1
        loss = backward(twin, theirs, 0)
        nn.utils.clip_grad_norm_(twin.parameters(), 0.05)
        return loss

    for _ in range(3):
        ours.step(lambda: backward(net, ours, 0))
        theirs.step(by_hand)
    assert_same(net, twin, rtol=1e-4, atol=1e-6)
    assert ours.clipper.steps.item() == evaluations > 3


def test_sparse_adam_and_muon_take_a_clipper_too() -> None:
    embedding = nn.Embedding(5, 2, sparse=True)
    before = embedding.weight.detach().clone()
    sparse = optimizers.SparseAdam(embedding.parameters(), lr=0.1, clipper=ClipNorm(1e-3))
    embedding(torch.tensor([1, 3])).sum().backward()
    sparse.step()
    changed = (embedding.weight.detach() != before).any(1)
    assert changed.tolist() == [False, True, False, True, False]
    assert sparse.last_report.clipped_norm.item() == pytest.approx(1e-3, rel=1e-3)

    if not MUON:
        return
    weight = nn.Parameter(torch.ones(4, 4))
    muon = optimizers.Muon([weight], lr=1.0, clipper=ClipUpdate(0.01))
    weight.grad = torch.randn(4, 4)
    muon.step()
    assert (weight.detach() - 1).norm().item() == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("plain_first", [True, False])
def test_hooks_run_once_whichever_class_was_used_first(plain_first: bool) -> None:
    base = type("Plain", (torch.optim.SGD,), {"step": _fresh_step})
    kind, param = clipped(base), nn.Parameter(torch.zeros(2))
    if plain_first:
        base([param], 0.1)
    optimizer = kind([param], 0.1, clipper=ClipNorm(1.0))
    if not plain_first:
        base([param], 0.1)
    calls: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    param.grad = torch.ones(2)
    optimizer.step()
    assert calls == ["before", "after"]
    assert optimizer.clipper.steps.item() == 1


def _fresh_step(self: Any, closure: Any = None) -> None:
    """A step that torch has not wrapped yet."""
    for group in self.param_groups:
        for param in group["params"]:
            param.data.sub_(param.grad)


def go(net: nn.Module, optimizer: Any, steps: range) -> None:
    for step in steps:
        backward(net, optimizer, step)
        optimizer.step()


@pytest.mark.parametrize("unscaled_by_hand", [False, True])
@pytest.mark.parametrize("name", ["SGD", "AdamW", "Adam", "Adagrad"])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("make", [lambda: ClipNorm(0.3), lambda: ClipValue(0.05)])
def test_under_a_grad_scaler_the_unscaled_gradient_is_clipped(
    make: Any, fused: bool, name: str, unscaled_by_hand: bool
) -> None:
    net = make_net()
    twin = copy.deepcopy(net)
    setting: dict[str, Any] = {"lr": 0.02} | ({"momentum": 0.9} if name == "SGD" else {})
    ours = getattr(optimizers, name)(net.parameters(), fused=fused, clipper=make(), **setting)
    theirs = getattr(torch.optim, name)(twin.parameters(), foreach=True, **setting)
    scalers = [torch.amp.GradScaler("cpu", init_scale=64.0) for _ in range(2)]
    clipper = make()
    for step in range(STEPS):
        for n, optimizer, scaler in ((net, ours, scalers[0]), (twin, theirs, scalers[1])):
            optimizer.zero_grad()
            loss = loss_of(n, step) * (math.inf if step in (0, 5) else 1.0)
            scaler.scale(loss).backward()
            if optimizer is theirs:
                scaler.unscale_(optimizer)
                clipper(n)
            elif unscaled_by_hand:
                scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
    assert_same(net, twin, **of_training(STEPS, 0.02))
    assert not hasattr(ours, "grad_scale")
    assert scalers[0].get_scale() == scalers[1].get_scale() == 16.0
    assert ours.last_report.norm.item() == pytest.approx(clipper.last_report.norm.item(), rel=1e-5)


def test_a_scale_of_ones_own_is_put_back() -> None:
    net = make_net()
    twin = copy.deepcopy(net)
    ours = optimizers.AdamW(net.parameters(), 0.02, fused=True, clipper=ClipNorm(0.3))
    theirs = torch.optim.AdamW(twin.parameters(), 0.02)
    ours.grad_scale = scale = torch.tensor(8.0)
    for step in range(4):
        ours.zero_grad()
        (8 * loss_of(net, step)).backward()
        ours.step()
        backward(twin, theirs, step)
        nn.utils.clip_grad_norm_(twin.parameters(), 0.3)
        theirs.step()
        assert ours.grad_scale is scale
    assert_same(net, twin, **of_training(STEPS, 0.02))


def test_schedulers_groups_and_names() -> None:
    net = make_net()
    groups = [
        {"params": list(net[0].named_parameters(prefix="first")), "lr": 0.1},
        {"params": list(net[2].named_parameters(prefix="last"))},
    ]
    optimizer = optimizers.SGD(groups, 0.01, clipper=ClipNorm(1e-3, by="module"))
    scheduler = CosineAnnealingLR(optimizer, 4)
    before = copy.deepcopy(net.state_dict())
    backward(net, optimizer, 0)
    optimizer.step()
    scheduler.step()
    moves = [(p - before[n]).flatten() for n, p in net.state_dict().items()]
    assert torch.cat(moves[:2]).norm().item() == pytest.approx(1e-4, rel=1e-3)
    assert torch.cat(moves[2:]).norm().item() == pytest.approx(1e-5, rel=1e-2)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * (1 + math.cos(math.pi / 4)) / 2)
    assert optimizer.last_report.names == [
        "first.weight",
        "first.bias",
        "last.weight",
        "last.bias",
    ]


def test_the_guard_skips_a_step_and_raises_when_told_to() -> None:
    net = make_net()
    optimizer = optimizers.AdamW(net.parameters(), 0.02, clipper=ClipNorm(1.0, patience=2))
    go(net, optimizer, range(2))
    kept = copy.deepcopy((net.state_dict(), optimizer.state_dict()["state"]))
    for param in net.parameters():
        param.grad = torch.full_like(param, math.nan)
    optimizer.step()
    torch.testing.assert_close((net.state_dict(), optimizer.state_dict()["state"]), kept)
    for param in net.parameters():
        param.grad = torch.full_like(param, math.nan)
    with pytest.raises(NonFiniteGradientError, match="gave up after 2"):
        optimizer.step()


@pytest.mark.parametrize("name", [*NAMES, "LBFGS", "SparseAdam", *MUON])
def test_the_signature_is_the_optimizers_with_a_clipper(name: str) -> None:
    ours, theirs = getattr(optimizers, name), getattr(torch.optim, name)
    parameters = dict(inspect.signature(ours).parameters)
    assert parameters.pop("clipper").kind is inspect.Parameter.KEYWORD_ONLY
    assert parameters == dict(inspect.signature(theirs).parameters)
    assert issubclass(ours, theirs)
    assert clipped(theirs) is ours
    assert (ours.__name__, ours.__qualname__) == (f"Clipped{name}", name)


@pytest.mark.parametrize("bad", [None, 1.0, ClipNorm, nn.Linear(1, 1)])
def test_the_clipper_is_checked(bad: Any) -> None:
    with pytest.raises(TypeError, match=r"^clipper must be a Clipper, got "):
        optimizers.SGD([nn.Parameter(torch.zeros(1))], 0.1, clipper=bad)


@pytest.mark.parametrize("bad", [None, nn.Linear, "SGD", optimizers.SGD, torch.optim])
def test_the_class_is_checked(bad: Any) -> None:
    with pytest.raises(TypeError, match=r"^clipped takes a class of optimizers without a clipper"):
        clipped(bad)


def test_an_optimizer_the_rule_cannot_serve_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"^Spam reads the second moment .* got ClippedSGD$"):
        optimizers.SGD([nn.Parameter(torch.zeros(1))], 0.1, clipper=Spam())
