"""One line for a loop of somebody else's: the weights of clipping by hand, undone again."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import pytorch_optimizer
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from gradclip_core import ClipNorm, Clipper, ClipUpdate, ClipValue, Percentile, clip_in_step
from gradclip_core.optimizers import clipped

BOUND, STEPS = 0.3, 9


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))


def loss_of(net: nn.Module, step: int) -> Tensor:
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
    loss: Tensor = net(x).square().mean() * (30.0 if step % 3 == 0 else 1.0)
    return loss


def plain(net: nn.Module, optimizer: Optimizer) -> None:
    for step in range(STEPS):
        optimizer.zero_grad()
        loss_of(net, step).backward()
        optimizer.step()


def closures(net: nn.Module, optimizer: Optimizer) -> None:
    for step in range(STEPS):

        def closure(step: int = step) -> Tensor:
            optimizer.zero_grad()
            loss = loss_of(net, step)
            loss.backward()
            return loss

        optimizer.step(closure) if step % 2 else optimizer.step(closure=closure)  # type: ignore[arg-type]


def scaled(net: nn.Module, optimizer: Optimizer) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    for step in range(STEPS):
        optimizer.zero_grad()
        scaler.scale(loss_of(net, step) * (math.inf if step == 2 else 1)).backward()
        scaler.step(optimizer)
        scaler.update()


def by_hand(net: nn.Module, optimizer: Optimizer, skipped: int | None) -> None:
    for step in range(STEPS):
        optimizer.zero_grad()
        if step != skipped:
            loss_of(net, step).backward()
            nn.utils.clip_grad_norm_(net.parameters(), BOUND)
            optimizer.step()


LOOPS: dict[str, Callable[[nn.Module, Optimizer], None]] = {
    "plain": plain,
    "closures": closures,
    "scaled": scaled,
}


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("loop", LOOPS)
def test_the_weights_are_those_of_clipping_by_hand(loop: str, fused: bool) -> None:
    net, twin = make_net(), make_net()
    optimizer = AdamW(net.parameters(), 0.02, fused=fused)
    hook = clip_in_step(optimizer, ClipNorm(BOUND))
    LOOPS[loop](net, optimizer)
    by_hand(twin, AdamW(twin.parameters(), 0.02), skipped=2 if loop == "scaled" else None)
    # Two float32 orders of the same operations, over nine steps of Adam.
    torch.testing.assert_close(net.state_dict(), twin.state_dict(), rtol=1e-4, atol=1e-6)
    assert hook.last_report is hook.clipper.last_report
    assert 0 < hook.last_report.clip_rate.item() < 1


@pytest.mark.parametrize("end", ["detach", "with", "error", "clipper"])
def test_it_is_undone(end: str) -> None:
    net, twin = make_net(), make_net()
    optimizer, other = SGD(net.parameters(), 0.1), SGD(twin.parameters(), 0.1)
    before = vars(optimizer).keys(), copy.deepcopy(optimizer.state_dict())
    clipper = ClipNorm(1e-6)
    if end in ("detach", "clipper"):
        hook = clip_in_step(optimizer, clipper)
        assert optimizer.state_dict()["param_groups"][0]["clipper"]
        (hook if end == "detach" else clipper).detach()
    elif end == "with":
        with clip_in_step(optimizer, clipper):
            pass
    else:
        with pytest.raises(KeyError), clip_in_step(optimizer, clipper):
            raise KeyError
    plain(net, optimizer)
    plain(twin, other)
    torch.testing.assert_close(net.state_dict(), twin.state_dict(), rtol=0, atol=0)
    assert (vars(optimizer).keys(), optimizer.state_dict()) == before
    assert clipper.steps.item() == 0
    clip_in_step(optimizer, clipper)  # and can begin again


def test_names_come_from_the_model_also_of_parameters_that_come_later() -> None:
    net = make_net()
    optimizer = SGD(net[0].parameters(), 0.1)
    clipper = ClipNorm(1e-9, by="module", min_ndim=1)
    hook = clip_in_step(optimizer, clipper).attach(model=net)
    plain(net, optimizer)
    assert hook.last_report is not None
    assert hook.last_report.names == ["0.weight", "0.bias"]
    optimizer.add_param_group({"params": list(net[2].parameters()), "lr": 0.2})
    plain(net, optimizer)
    assert hook.last_report.names == ["0.weight", "0.bias", "2.weight", "2.bias"]


@pytest.mark.parametrize("first", ["door", "clipper", "before"])
@pytest.mark.parametrize("rule", [ClipNorm, ClipUpdate])
def test_a_twin_learns_names_in_any_order(rule: Any, first: str) -> None:
    net = make_net()
    clipper = rule(1e-9, exclude=r"^2\.")
    if first == "before" and rule is ClipNorm:
        clipper.attach(model=net)
    optimizer = clipped(SGD)(net.parameters(), lr=0.1, fused=True, clipper=clipper)
    if first == "door":
        assert optimizer.attach(model=net) is optimizer
    else:
        optimizer.clipper.attach(model=net)
    before = copy.deepcopy(net.state_dict())
    loss_of(net, 0).backward()
    optimizer.step()
    moved = {name: (value - before[name]).norm().item() for name, value in net.state_dict().items()}
    assert moved["0.weight"] < 1e-8 < moved["2.weight"]
    assert optimizer.last_report.names == list(before)[: len(optimizer.last_report.names)]
    assert optimizer.clipper.steps.item() == 1


def two_nets() -> Iterator[tuple[nn.Module, SGD]]:
    for _ in range(2):
        net = make_net()
        yield net, SGD(net.parameters(), 0.1)


@pytest.mark.parametrize("rule", [ClipNorm, ClipUpdate, ClipValue])
def test_one_clipper_serves_one_optimizer(rule: Any) -> None:
    (first_net, first), (_, second) = two_nets()
    clipper = rule(0.01)
    clip_in_step(first, clipper)
    for attempt in (
        lambda: clip_in_step(second, clipper),
        lambda: clipper.attach(optimizer=second),
        lambda: clipped(SGD)(make_net().parameters(), lr=0.1, clipper=clipper),
    ):
        with pytest.raises(ValueError, match=r"^this \w+ is attached to another optimizer"):
            attempt()
    loss_of(first_net, 0).backward()
    first.step()
    assert clipper.steps.item() == 1  # the first is clipped as before
    clip_in_step(second, copy.deepcopy(clipper))
    clipper.detach()
    clipper.attach(optimizer=SGD(make_net().parameters(), 0.1))


def test_an_optimizer_takes_one_clipper() -> None:
    (_, plain_one), _ = two_nets()
    clip_in_step(plain_one, ClipNorm(1.0))
    twin = clipped(SGD)(make_net().parameters(), lr=0.1, clipper=ClipNorm(1.0))
    for optimizer in (plain_one, twin):
        with pytest.raises(ValueError, match="has a clipper in its step already"):
            clip_in_step(optimizer, ClipNorm(1.0))


def test_wrappers_are_refused_by_twins_and_seen_through_here() -> None:
    net, twin = make_net(), make_net()
    with pytest.raises(TypeError, match="wraps an optimizer: give the clipper to that one"):
        clipped(pytorch_optimizer.Lookahead)(SGD(net.parameters(), 0.1), clipper=ClipNorm(1.0))
    wrapper = pytorch_optimizer.Lookahead(SGD(net.parameters(), 0.1), k=2)
    clip_in_step(wrapper, ClipNorm(BOUND))
    plain(net, wrapper)
    by_hand(twin, pytorch_optimizer.Lookahead(SGD(twin.parameters(), 0.1), k=2), None)
    torch.testing.assert_close(net.state_dict(), twin.state_dict(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bad", [None, 1.0, ClipNorm, nn.Linear(1, 1)])
def test_arguments_are_checked(bad: Any) -> None:
    (_, optimizer), _ = two_nets()
    with pytest.raises(TypeError, match=r"^clipper must be a Clipper, got "):
        clip_in_step(optimizer, bad)
    with pytest.raises(TypeError, match=r"is no optimizer whose step\(\) calls hooks"):
        clip_in_step(bad, ClipNorm(1.0))


def clipped_before(net: nn.Module, optimizer: Optimizer, how: str) -> None:
    for step in range(16):
        optimizer.zero_grad()
        (loss_of(net, step) * 100).backward()
        if how == "norm":
            nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        elif how == "value":
            nn.utils.clip_grad_value_(net.parameters(), 2.0)
        elif how == "sometimes" and step % 2:
            nn.utils.clip_grad_norm_(net.parameters(), 0.5)
            continue
        optimizer.step()


MAKERS: dict[str, Callable[[], Clipper]] = {
    "norm": lambda: ClipNorm(0.1),
    "value": lambda: ClipValue(0.1),
    "parameter": lambda: ClipNorm(Percentile(50), by="parameter"),
}


@pytest.mark.parametrize("clipper", MAKERS)
@pytest.mark.parametrize("how", ["norm", "value"])
def test_gradients_that_arrive_clipped_are_told_of_once(clipper: str, how: str) -> None:
    net = make_net()
    optimizer = clipped(AdamW)(net.parameters(), 0.01, clipper=MAKERS[clipper]())
    with pytest.warns(UserWarning, match="as if they were clipped before") as caught:
        clipped_before(net, optimizer, how)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clipped_before(net, optimizer, how)


@pytest.mark.parametrize("how", ["none", "sometimes"])
def test_gradients_as_they_are_arrive_without_a_word(how: str) -> None:
    net = make_net()
    optimizer = clipped(AdamW)(net.parameters(), 0.01, clipper=ClipNorm(0.1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clipped_before(net, optimizer, how)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_one_gradient_over_and_over_is_not_taken_for_a_clipped_one(value: float) -> None:
    param = nn.Parameter(torch.zeros(3))
    optimizer = clipped(SGD)([param], lr=0.1, clipper=ClipNorm(0.1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(20):
            param.grad = torch.tensor([value, 2 * value, 0.0])
            optimizer.step()


@pytest.mark.parametrize("twin", [False, True])
def test_a_loop_that_calls_the_clipper_too_is_told_once(twin: bool) -> None:
    net, clipper = make_net(), ClipNorm(Percentile(50.0))
    if twin:
        optimizer = clipped(SGD)(net.parameters(), 0.1, clipper=clipper)
    else:
        optimizer = SGD(net.parameters(), 0.1)
        clip_in_step(optimizer, clipper)
    for by_hand in (True, False, False):  # the first call comes before the step has clipped
        if by_hand:
            clipper(net)
        loss_of(net, 0).backward()
        optimizer.step()
    clipper(net)
    with pytest.warns(UserWarning, match=r"^the ClipNorm in the step of .*SGD is called by the lo"):
        optimizer.step()
    clipper(net)
    optimizer.step()


def test_guards_of_update_clipping_may_be_asked_before_the_step() -> None:
    net = make_net()
    optimizer = clipped(SGD)(net.parameters(), 0.1, clipper=ClipUpdate(0.1))
    for step in range(3):
        loss_of(net, step).backward()
        optimizer.clipper(net)
        optimizer.step()
