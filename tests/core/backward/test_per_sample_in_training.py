"""Clipping by samples in training: bad samples, copies, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from gradclip_core import (
    ByName,
    ClipNorm,
    ClipPerSample,
    NoClip,
    NonFiniteGradientError,
    UClip,
    chain,
)
from tests.core.backward.test_per_sample import FACTORS, by_hand, loss_with, make_batch, make_net
from tests.core.copies import COPIES, copied

BAD = [math.nan, math.inf]


@pytest.mark.parametrize("response", FACTORS)
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("kind", ["dense", "recurrent"])
def test_each_policy_for_a_sample_that_is_not_finite(kind: str, bad: float, response: Any) -> None:
    net, (x, y) = make_net(kind), make_batch(4)
    y[2] = bad

    def run(policy: Any) -> Any:
        net.zero_grad()
        clipper = ClipPerSample(0.5, response=response, nonfinite=policy).attach(model=net)
        clipper.backward(loss_with(net), (x, y))
        return clipper(net)

    report = run("skip")
    assert report.skipped.item() is True
    assert all(param.grad is None for param in net.parameters())
    with pytest.raises(NonFiniteGradientError, match="non-finite gradient in "):
        run("raise")
    run("pass")
    assert not all(param.grad.isfinite().all() for param in net.parameters())
    report = run("zero")
    others = [0, 1, 3]
    expected, norms = by_hand(net, (x[others], y[others]), FACTORS[response], [0.5] * 3)
    for param, value in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(param.grad, value * 3 / 4)
    assert report.skipped.item() is False
    assert report.norms[others].tolist() == pytest.approx(norms)


def train(clipper: ClipPerSample, net: nn.Module, steps: range, scale: float = 1.0) -> None:
    clipper.attach(model=net)
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    for step in steps:
        x, y = make_batch(3, step)
        factor = scale if step % 5 == 2 else 1.0
        optimizer.zero_grad()
        clipper.backward(lambda b, s=factor: s * loss_with(net)(b), (x, y))
        clipper(net)
        optimizer.step()


@pytest.mark.parametrize("policy", ["skip", "zero"])
@pytest.mark.parametrize("bad", [*BAD, 0.0, 1e30])
def test_no_gradient_poisons_or_freezes_it(policy: Any, bad: float) -> None:
    net, clipper = make_net(), ClipPerSample(1.0, nonfinite=policy)
    train(clipper, net, range(20), bad)
    kept = [param.detach().clone() for param in net.parameters()]
    assert all(param.isfinite().all() and param.abs().max() < 10 for param in kept)
    train(clipper, net, range(20, 22))
    assert any(not torch.equal(p, k) for p, k in zip(net.parameters(), kept, strict=True))


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_goes_on_bit_for_bit(kind: str) -> None:
    whole, net, clipper = make_net(), make_net(), ClipPerSample(0.5)
    train(ClipPerSample(0.5), whole, range(40))
    train(clipper, net, range(20))
    other: Any = copied(kind, clipper, lambda: ClipPerSample(0.5))
    train(other, net, range(20, 40))
    torch.testing.assert_close(net.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert (other.steps.item(), other.clipped_steps.item()) == (40, 40)


def test_batch_normalisation_is_refused() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with pytest.raises(ValueError, match=r"^ClipPerSample cannot take 1 apart by samples: batch"):
        ClipPerSample(1.0).attach(model=net)


def test_frozen_batch_normalisation_mixes_nothing_until_it_trains_again() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    net[1].eval()
    clipper, x = ClipPerSample(1e9).attach(model=net), torch.randn(6, 2)
    clipper.backward(lambda batch: net(batch).square().mean(), x)
    ours = [param.grad.clone() for param in net.parameters()]
    net.zero_grad()
    net(x).square().mean().backward()
    # float32 sums of six samples in another order
    torch.testing.assert_close(
        ours, [param.grad for param in net.parameters()], rtol=1e-5, atol=1e-6
    )
    net[1].train()
    with pytest.raises(ValueError, match="batch normalisation mixes them; put it in eval"):
        clipper.backward(lambda batch: net(batch).square().mean(), x)


def test_what_is_missing_is_said() -> None:
    net = make_net()
    with pytest.raises(ValueError, match=r"^method must be 'auto' or 'loop' for a model with"):
        ClipPerSample(1.0, method="vmap").attach(model=make_net("recurrent"))
    with pytest.raises(ValueError, match=r"^ClipPerSample needs the model: call clipper.attach"):
        ClipPerSample(1.0).attach()
    with pytest.raises(ValueError, match=r"^ClipPerSample has no model: call clipper.attach"):
        ClipPerSample(1.0).backward(loss_with(net), make_batch(2))
    loss_with(net)(make_batch(2)).backward()
    with pytest.raises(ValueError, match=r"^ClipPerSample clips in the backward pass: call clipp"):
        ClipPerSample(1.0).attach(model=net)(net)


def test_without_gradients_nothing_happens() -> None:
    clipper = ClipPerSample(1.0).attach(model=nn.Linear(1, 1))
    assert clipper(nn.Linear(1, 1)).norm.item() == 0
    assert clipper.steps.item() == 0


@pytest.mark.parametrize(
    "compose",
    [
        lambda c: chain(c),
        lambda c: chain(NoClip(), c),
        lambda c: ByName({"a": c}),
        lambda c: UClip(c),
        lambda c: chain(c, ClipNorm(1.0)),
    ],
)
def test_it_stands_alone(compose: Callable[[ClipPerSample], Any]) -> None:
    with pytest.raises(ValueError, match="must not need samples, as ClipPerSample does: use it al"):
        compose(ClipPerSample(1.0))


@pytest.mark.parametrize(
    ("name", "allowed", "bad"),
    [
        *[("max_norm", "a finite number > 0", v) for v in (0, -1, math.inf, math.nan, True, "x")],
        *[("gamma", "a finite number > 0", v) for v in (0, -1, math.inf, True, None)],
        *[("response", "one of flat, automatic, drop", v) for v in ("hard", None, 1)],
        *[("method", "one of auto, vmap, loop", v) for v in ("map", None, 1)],
        *[("chunk_size", "an integer >= 1 or None", v) for v in (0, 1.5, True, "x")],
        *[("nonfinite", "one of skip, raise, zero, pass", v) for v in ("x", None)],
    ],
)
def test_arguments_are_checked(name: str, allowed: str, bad: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be {allowed}, got") as caught:
        ClipPerSample(**{name: bad})
    assert str(caught.value).endswith(repr(bad))
