"""SPAM, Stable-SPAM and ACClip: the weights of pytorch_optimizer's, and of the papers' formulas."""

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
from torch import nn
from torch.optim import SGD, Adadelta, Adagrad, Adam, AdamW, NAdam, Optimizer, RAdam, RMSprop

from gradclip_core import ACClip, Clipper, Spam, StableSpam

Holding = Callable[..., list[nn.Parameter]]
CLIPPERS: dict[str, Callable[..., Clipper]] = {
    "spam": lambda **kw: Spam(50.0, warmup_steps=3, reset_every=11, lr_warmup_steps=5, **kw),
    "stable_spam": lambda **kw: StableSpam(reset_every=9, **kw),
    "acclip": lambda **kw: ACClip(0.0, **kw),
}
SERVED: list[Callable[[Any], Optimizer]] = [
    lambda p: Adam(p, 0.01),
    lambda p: Adam(p, 0.01, amsgrad=True, fused=True),
    lambda p: AdamW(p, 0.01, foreach=True),
    lambda p: AdamW(p, torch.tensor(0.01), fused=True),
    lambda p: NAdam(p, 0.01),
    lambda p: RAdam(p, 0.01),
    lambda p: RMSprop(p, 0.01, momentum=0.9, centered=True),
    lambda p: Adadelta(p, 0.5),
]


def make_net(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).to(dtype)


def gradients(net: nn.Module, step: int, scale: float = 1.0) -> None:
    """Random gradients; every seventh step a few elements are spikes."""
    generator = torch.Generator().manual_seed(step)
    for param in net.parameters():
        grad = torch.randn(param.shape, generator=generator, dtype=torch.float64)
        if step % 7 == 6:
            grad *= 1 + 1e3 * (torch.rand(param.shape, generator=generator) < 0.2)
        param.grad = (grad * scale).to(param.dtype)


def assert_close(one: nn.Module, other: nn.Module, rtol: float) -> None:
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=1e-9)


def test_adam_under_spam_is_spam() -> None:
    peer = pytest.importorskip("pytorch_optimizer", reason="pytorch_optimizer is not installed")
    net = make_net(torch.float64)
    twin = copy.deepcopy(net)
    ours = Adam(net.parameters(), 0.01, eps=1e-30)
    theirs = peer.SPAM(
        twin.parameters(),
        0.01,
        threshold=50,
        warmup_epoch=30,
        grad_accu_steps=10,
        update_proj_gap=70,
        eps=1e-30,
    )
    clipper = Spam(50.0, warmup_steps=10, reset_every=70, lr_warmup_steps=30).attach(optimizer=ours)
    for step in range(300):
        for n in (net, twin):
            gradients(n, step)
        clipper(net)
        ours.step()
        theirs.step()
        assert ours.param_groups[0]["lr"] == 0.01
        assert_close(net, twin, 1e-8)
    assert 0.05 < clipper.last_report.clip_rate < 0.95


@pytest.mark.parametrize("reset_every", [None, 60])
def test_adam_under_stable_spam_is_stable_spam(reset_every: int | None) -> None:
    peer = pytest.importorskip("pytorch_optimizer", reason="pytorch_optimizer is not installed")
    net = make_net(torch.float64)
    twin = copy.deepcopy(net)
    ours = Adam(net.parameters(), 0.01)
    theirs = peer.StableSPAM(twin.parameters(), 0.01, update_proj_gap=reset_every or 10_000)
    clipper = StableSpam(reset_every=reset_every).attach(optimizer=ours)
    for step in range(300):
        for n in (net, twin):
            gradients(n, step)
        clipper(net)
        ours.step()
        theirs.step()
        assert_close(net, twin, 1e-8)
    assert 0.05 < clipper.last_report.clip_rate < 0.9


@pytest.mark.parametrize("alpha", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_under_acclip_is_algorithm_2(momentum: float, alpha: float) -> None:
    net = make_net(torch.float64)
    weights = [param.detach().numpy().copy() for param in net.parameters()]
    m, tau = ([np.zeros_like(w) for w in weights] for _ in range(2))
    optimizer = SGD(net.parameters(), 0.1)
    clipper = ACClip(momentum, 0.95, alpha, entry_cap=math.inf, eps=1e-8).attach(
        optimizer=optimizer
    )
    for step in range(300):
        gradients(net, step)
        for i, param in enumerate(net.parameters()):
            g = param.grad.numpy().copy()
            m[i] = momentum * m[i] + (1 - momentum) * g
            tau[i] = (0.95 * tau[i] ** alpha + 0.05 * np.abs(g) ** alpha) ** (1 / alpha)
            weights[i] -= 0.1 * np.minimum(tau[i] / (np.abs(m[i]) + 1e-8), 1) * m[i]
        report = clipper(net)
        optimizer.step()
    for param, w in zip(net.parameters(), weights, strict=True):
        np.testing.assert_allclose(param.detach().numpy(), w, rtol=1e-7, atol=1e-9)
    assert report.thresholds.tolist() == pytest.approx([t.max() for t in tau])


@given(seed=st.integers(0, 1000), ratio=st.floats(0.1, 100.0), scale=st.floats(1e-3, 1e3))
@settings(max_examples=30)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_spam_bounds_what_has_a_moment_and_leaves_the_rest(
    seed: int, ratio: float, scale: float, dtype: torch.dtype
) -> None:
    net = make_net(dtype)
    optimizer = Adam(net.parameters(), 0.01)
    gradients(net, seed)
    optimizer.step()
    weight = net[0].weight
    optimizer.state[weight]["exp_avg_sq"][0] = 0.0
    gradients(net, seed + 1, scale)
    before, moment = weight.grad.clone(), optimizer.state[weight]["exp_avg_sq"]
    clipper = Spam(ratio, warmup_steps=0, reset_every=None).attach(optimizer=optimizer)
    report = clipper(net)
    assert torch.equal(weight.grad[0], before[0])
    bound = (ratio**0.5 * moment[1:].double().sqrt()) * (1 + 4 * torch.finfo(dtype).eps)
    assert (weight.grad[1:].double().abs() <= bound).all()
    assert torch.equal(weight.grad.sign(), before.sign())
    inside = before[1:].abs() < 0.98 * bound
    assert torch.equal(weight.grad[1:][inside], before[1:][inside])
    touched = any(
        (g.double().abs() > 1.02 * ratio**0.5 * optimizer.state[p]["exp_avg_sq"].double().sqrt())
        .logical_and(optimizer.state[p]["exp_avg_sq"] > 0)
        .any()
        for p, g in ((weight, before),)
    )
    assert not touched or bool(report.clipped)


@pytest.mark.parametrize("make", SERVED)
def test_spam_reads_and_resets_every_optimizer_it_serves(make: Any) -> None:
    net = make_net()
    optimizer = make(net.parameters())
    clipper = Spam(2.0, warmup_steps=2, reset_every=5, lr_warmup_steps=3).attach(
        optimizer=optimizer
    )
    key = "square_avg" if isinstance(optimizer, (RMSprop, Adadelta)) else "exp_avg_sq"
    rate, weight = float(optimizer.param_groups[0]["lr"]), net[0].weight
    seen: list[float] = []
    optimizer.register_step_pre_hook(
        lambda o, *_: seen.append(float(o.param_groups[0]["lr"]) / rate)
    )
    for step in range(9):
        gradients(net, step)
        raw = weight.grad.clone()
        old = optimizer.state[weight][key].clone() if step else torch.zeros_like(raw)
        clipper(net)
        cut = (old > 0) & (raw**2 > 2.0 * old)
        expected = torch.where(cut, raw.sign() * (2.0 * old).sqrt(), raw)
        if step + 1 in (2, 3, 4, 7, 8, 9):  # not in the first two steps, nor in those after 5
            torch.testing.assert_close(weight.grad, expected)
            assert cut.any()
        else:
            assert torch.equal(weight.grad, raw)
        moments = [s[key] for s in optimizer.state.values()]
        assert all(bool((m == 0).all()) for m in moments) == (step in (0, 4))
        optimizer.step()
    rises = [1 - 0.99 * (1 + math.cos(math.pi * k / 4)) / 2 for k in (1, 2, 3)]
    assert seen == pytest.approx([1, 1, 1, 1, *rises, 1, 1])
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(rate)


def test_a_broken_off_step_leaves_no_lowered_rate_behind() -> None:
    net = make_net()
    optimizer = Adam(net.parameters(), 0.01)
    clipper = Spam(reset_every=1, lr_warmup_steps=10, warmup_steps=0).attach(optimizer=optimizer)

    def fails() -> float:
        gradients(net, 0)
        clipper(net)
        assert optimizer.param_groups[0]["lr"] < 0.001
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(fails)
    clipper.detach()
    assert optimizer.param_groups[0]["lr"] == 0.01


def test_a_zero_gradient_stays_zero_under_stable_spam(holding: Holding) -> None:
    zero, one = holding(torch.zeros(3), torch.ones(3))
    clipper = StableSpam()
    report = clipper([zero, one])
    assert zero.grad.tolist() == [0.0] * 3
    assert one.grad.norm().item() == pytest.approx(1.0)
    assert clipper.threshold.count.tolist() == [0, 1]
    assert report.clipped.item() is False


@pytest.mark.parametrize("make", [Spam, lambda: StableSpam(reset_every=10)])
@pytest.mark.parametrize("optimizer", [None, SGD, Adagrad])
def test_optimizers_without_a_second_moment_are_refused(make: Any, optimizer: Any) -> None:
    made = optimizer and optimizer(make_net().parameters(), 0.1)
    name = "none" if made is None else type(made).__name__
    with pytest.raises(ValueError, match=f"and serves Adam, AdamW, .*; got {name}$"):
        make().attach(optimizer=made)


def test_acclip_with_momentum_serves_plain_sgd_alone() -> None:
    params = list(make_net().parameters())
    for optimizer in (Adam(params), SGD(params, 0.1, momentum=0.9)):
        with pytest.raises(ValueError, match=r"^ACClip with momentum=0.9 serves SGD\(momentum=0\)"):
            ACClip().attach(optimizer=optimizer)
        ACClip(0.0).attach(optimizer=optimizer)
    ACClip().attach(optimizer=SGD(params, 0.1))


@pytest.mark.parametrize("make", [lambda: Spam(), StableSpam, ACClip])
def test_complex_and_sparse_gradients_are_refused(holding: Holding, make: Any) -> None:
    embedding = nn.Embedding(3, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    for params, kind in ((holding(torch.tensor([1j])), "complex"), ([embedding.weight], "sparse")):
        clipper = make()
        optimizer = Adam(params) if isinstance(clipper, Spam) else SGD(params, 0.1)
        clipper.attach(optimizer=optimizer)
        with pytest.raises(
            TypeError, match=f"cannot take {kind} gradients, as .* has; use ClipNorm"
        ):
            clipper(params)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Spam(0.0), "ratio must be a finite number > 0, got 0.0"),
        (lambda: Spam(warmup_steps=-1), "warmup_steps must be an integer >= 0, got -1"),
        (lambda: Spam(reset_every=0), "reset_every must be an integer >= 1 or None, got 0"),
        (lambda: Spam(lr_warmup_steps=-1), "lr_warmup_steps must be an integer >= 0, got -1"),
        (lambda: StableSpam(peak_decay=1.0), "peak_decay must be a number >= 0 and < 1, got 1.0"),
        (lambda: StableSpam(eps=-1.0), "eps must be a finite number >= 0, got -1.0"),
        (lambda: ACClip(1.0), "momentum must be a number >= 0 and < 1, got 1.0"),
        (lambda: ACClip(alpha=0.0), "alpha must be a finite number > 0, got 0.0"),
        (lambda: ACClip(by="row"), "by must not be 'row'"),
    ],
)
def test_arguments_are_checked(make: Callable[[], Clipper], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        make()
