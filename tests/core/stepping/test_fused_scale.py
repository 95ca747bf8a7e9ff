"""Folding into fused optimizers: the weights of clipping in place, and when it is not done."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

from gradclip_core import ClipNorm, ClipUpdate, ClipValue, NoClip, Percentile, chain
from gradclip_core.parts import native

FUSED: dict[str, Callable[..., Optimizer]] = {
    "adam": lambda p, **kw: Adam(p, 0.05, amsgrad=True, **kw),
    "adamw": lambda p, **kw: AdamW(p, 0.05, weight_decay=0.1, **kw),
    "sgd": lambda p, **kw: SGD(p, 0.05, **kw),
    "momentum": lambda p, **kw: SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=0.1, **kw),
    "adagrad": lambda p, **kw: Adagrad(p, 0.05, **kw),
}
CLIPPERS: dict[str, Callable[[], ClipNorm]] = {
    "hard": lambda: ClipNorm(1.0),
    "inf-norm": lambda: ClipNorm(0.5, norm_type=math.inf),
    "autoclip": lambda: ClipNorm(Percentile(30.0)),
    "soft": lambda: ClipNorm(1.0, response="soft"),
    "normalize": lambda: ClipNorm(3.0, response="normalize"),
    "skip": lambda: ClipNorm(Percentile(60.0), response="skip", max_skips=1),
    "pass": lambda: ClipNorm(1.0, nonfinite="pass"),
}


def make_net(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).to(dtype)


def gradients(net: nn.Module, step: int, scale: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(step)
    size = (0.1, 1.0, 30.0)[step % 3] * scale
    for param in net.parameters():
        param.grad = (torch.randn(param.shape, generator=generator) * size).to(param.dtype)


def assert_close(net: nn.Module, other: nn.Module, rtol: float = 2e-5) -> None:
    """Gradients are given, not a network's: a step rounds by a few eps of its rate of .05."""
    torch.testing.assert_close(net.state_dict(), other.state_dict(), rtol=rtol, atol=1e-6)


@pytest.mark.parametrize("name", CLIPPERS)
@pytest.mark.parametrize("kind", FUSED)
def test_the_weights_are_those_of_clipping_in_place(kind: str, name: str) -> None:
    net = make_net()
    twin = copy.deepcopy(net)
    ours = FUSED[kind](net.parameters(), fused=True)
    theirs = FUSED[kind](twin.parameters(), fused=False, foreach=False)
    folded, in_place = CLIPPERS[name](), CLIPPERS[name]()
    assert folded.fold_into(ours)
    paths = set()
    for step in range(30):
        for n in (net, twin):
            gradients(n, step)
        raw = net[0].weight.grad.clone()
        one, two = folded(net), in_place(twin)
        if one.path == "folded":
            assert torch.equal(net[0].weight.grad, raw), "not touched before the step"
        ours.step()
        theirs.step()
        paths.add((one.path, two.path))
        assert not hasattr(ours, "grad_scale")
        torch.testing.assert_close(one.clipped_norms, two.clipped_norms)
        if not bool(one.skipped):  # the kernel stores what it has scaled
            torch.testing.assert_close(net[0].weight.grad, twin[0].weight.grad, rtol=1e-5, atol=0)
    assert_close(net, twin)
    assert ("folded", "in place") in paths
    assert paths <= {("folded", "in place"), ("none", "none")}


@given(seed=st.integers(0, 1000), bound=st.floats(1e-3, 1e3), scale=st.sampled_from([1e-3, 1, 1e6]))
@settings(max_examples=40)
def test_a_folded_step_moves_by_the_clipped_gradient(seed: int, bound: float, scale: float) -> None:
    net = make_net()
    before = torch.cat([p.detach().flatten().double() for p in net.parameters()])
    optimizer = SGD(net.parameters(), 1.0, fused=True)
    clipper = ClipNorm(bound, eps=0)
    clipper.fold_into(optimizer)
    gradients(net, seed, scale)
    whole = torch.cat([p.grad.flatten().double() for p in net.parameters()])
    clipper(net)
    optimizer.step()
    after = torch.cat([p.detach().flatten().double() for p in net.parameters()])
    expected = whole * min(1.0, bound / whole.norm().item())
    torch.testing.assert_close(before - after, expected, rtol=1e-5, atol=1e-6 * (1 + bound))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("kind", FUSED)
def test_a_step_that_is_skipped_first_leaves_no_garbage(kind: str, bad: float) -> None:
    net = make_net()
    twin = copy.deepcopy(net)
    ours, theirs = (FUSED[kind](n.parameters(), fused=True) for n in (net, twin))
    clipper, plain = ClipNorm(1.0), ClipNorm(1.0)
    clipper.fold_into(ours)
    gradients(net, 0, bad)
    assert bool(clipper(net).skipped)
    ours.step()
    for step in range(4):
        for n in (net, twin):
            gradients(n, step)
        clipper(net)
        plain(twin)
        ours.step()
        theirs.step()
    assert_close(net, twin)


def step_under_fold(param: nn.Parameter, optimizer: Optimizer, grad: Tensor) -> str:
    clipper = ClipNorm(1.0, eps=0)
    assert clipper.fold_into(optimizer)
    param.grad = grad
    path = clipper([param]).path
    optimizer.step()
    return path


@pytest.mark.parametrize(
    ("dtype", "path"),
    [
        (torch.float32, "folded"),
        (torch.float64, "in place"),
        (torch.bfloat16, "in place"),
        (torch.float16, "in place"),
    ],
)
def test_only_float32_is_folded(dtype: torch.dtype, path: str) -> None:
    param = nn.Parameter(torch.zeros(2, dtype=dtype))
    grad = torch.tensor([30.0, 40.0], dtype=dtype)
    assert step_under_fold(param, SGD([param], 1.0, fused=True), grad) == path
    assert param.tolist() == pytest.approx([-0.6, -0.8], rel=1e-2)


@pytest.mark.parametrize(("size", "path"), [(2_000_000, "in place"), (4_000_000, "folded")])
def test_few_gradients_are_left_to_the_kernel(
    monkeypatch: pytest.MonkeyPatch, size: int, path: str
) -> None:
    monkeypatch.undo()
    if not native.available():
        pytest.skip("needs a C compiler")
    param = nn.Parameter(torch.zeros(size))
    optimizer = SGD([param], 1.0, fused=True)
    assert step_under_fold(param, optimizer, torch.ones(size)) == path
    assert param.double().norm().item() == pytest.approx(1.0, rel=1e-6)


def test_few_gradients_are_folded_without_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(native, "library", lambda: None)
    param = nn.Parameter(torch.zeros(2))
    optimizer = SGD([param], 1.0, fused=True)
    assert step_under_fold(param, optimizer, torch.tensor([30.0, 40.0])) == "folded"


def test_a_gradient_that_lies_otherwise_in_memory_is_not_folded() -> None:
    param = nn.Parameter(torch.zeros(2, 3))
    grad = torch.arange(6.0).view(3, 2).t()
    optimizer = SGD([param], 1.0, fused=True)
    clipper = ClipNorm(1.0, eps=0)
    clipper.fold_into(optimizer)
    param.grad = grad.clone(memory_format=torch.preserve_format)
    assert param.grad.stride() != param.stride()
    assert clipper([param]).path == "in place"


def test_parameters_that_the_clipper_does_not_see_are_not_scaled() -> None:
    seen, unseen = (nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizer = SGD([seen, unseen], 1.0, fused=True)
    clipper = ClipNorm(1.0, eps=0)
    clipper.fold_into(optimizer)
    seen.grad, unseen.grad = torch.tensor([4.0]), torch.tensor([4.0])
    assert clipper([seen]).path == "in place"
    optimizer.step()
    assert (seen.item(), unseen.item()) == (-1.0, -4.0)
    foreign = nn.Parameter(torch.zeros(1))
    foreign.grad = torch.tensor([3.0])
    assert clipper([seen, unseen, foreign]).path == "in place"


def test_a_group_added_without_fused_is_not_folded() -> None:
    first, second = (nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizer = SGD([first], 1.0, fused=True)
    clipper = ClipNorm(1.0, eps=0)
    clipper.fold_into(optimizer)
    optimizer.add_param_group({"params": [second], "fused": False, "foreach": False})
    first.grad, second.grad = torch.tensor([3.0]), torch.tensor([4.0])
    assert clipper([first, second]).path == "in place"
    optimizer.step()
    assert [first.item(), second.item()] == pytest.approx([-0.6, -0.8])


@pytest.mark.parametrize(
    ("clipper", "optimizer"),
    [
        (ClipNorm(1.0), lambda p: AdamW(p)),
        (ClipNorm(1.0), lambda p: AdamW(p, foreach=True)),
        (ClipNorm(1.0), lambda p: RMSprop(p)),
        (ClipNorm(1.0, by="parameter"), lambda p: AdamW(p, fused=True)),
        (ClipNorm(1.0, min_ndim=2), lambda p: AdamW(p, fused=True)),
        (ClipNorm(1.0, exclude="^0"), lambda p: AdamW(p, fused=True)),
        (ClipValue(1.0), lambda p: AdamW(p, fused=True)),
        (ClipUpdate(1.0), lambda p: AdamW(p, fused=True)),
        (NoClip(), lambda p: AdamW(p, fused=True)),
        (chain(ClipNorm(1.0), ClipNorm(0.5)), lambda p: AdamW(p, fused=True)),
    ],
)
def test_what_is_not_one_factor_or_not_fused_stays_in_place(clipper: Any, optimizer: Any) -> None:
    net = make_net()
    made = optimizer(net.parameters())
    assert clipper.fold_into(made) is False
    gradients(net, 2)
    clipper.attach(optimizer=made)
    assert clipper(net).path != "folded"
