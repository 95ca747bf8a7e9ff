"""What all rules on the update share: closures, scalers, resuming, bad gradients, copies."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, AdamW, Optimizer

from gradclip_core import Clipper, ClipUpdate, NonFiniteGradientError, StableUpdate
from tests.core.updates.updates import CLIPPERS, OPTIMIZERS, gradients, make_net, scales


def test_a_closure_that_clips_inside_the_step() -> None:
    def run(with_closure: bool) -> dict[str, Tensor]:
        net = make_net()
        optimizer = SGD(net.parameters(), 1.0)
        clipper = ClipUpdate(0.1).attach(optimizer=optimizer)
        for step in range(3):

            def closure(step: int = step) -> float:
                gradients(net, step)
                clipper(net)
                return 0.0

            if not with_closure:
                closure()
            optimizer.step(closure if with_closure else None)
        return net.state_dict()

    torch.testing.assert_close(run(True), run(False), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["adamw fused", "adamw foreach", "sgd"])
def test_under_a_grad_scaler_the_skipped_step_moves_nothing_and_counts_once(name: str) -> None:
    net = make_net()
    optimizer = OPTIMIZERS[name](net.parameters())
    clipper = ClipUpdate(0.02).attach(optimizer=optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    clipped = []
    for step, broken in enumerate([True, False, True, False]):
        before = copy.deepcopy(net.state_dict())
        optimizer.zero_grad()
        x = torch.full((2, 3), math.inf if broken else step + 1.0)
        scaler.scale(net(x).square().sum()).backward()
        scaler.unscale_(optimizer)
        clipper(net)
        scaler.step(optimizer)
        scaler.update()
        moves = [(p - before[n]).flatten() for n, p in net.state_dict().items()]
        distance = torch.cat(moves).norm().item()
        assert distance == pytest.approx(0.0 if broken else 0.02, rel=1e-4)
        clipped.append(bool(clipper.last_report.clipped))
    assert clipped == [False, True, False, True]
    assert clipper.steps.item() == 4


@pytest.mark.parametrize("name", CLIPPERS)
def test_training_resumes_bit_for_bit(name: str) -> None:
    def start() -> tuple[nn.Module, Optimizer, Clipper]:
        net = make_net()
        optimizer = AdamW(net.parameters(), 0.05)
        return net, optimizer, CLIPPERS[name]().attach(optimizer=optimizer)

    def go(parts: tuple[nn.Module, Optimizer, Clipper], steps: range) -> None:
        net, optimizer, clipper = parts
        for step in steps:
            gradients(net, step, scales(step))
            clipper(net)
            optimizer.step()

    whole, first, second = start(), start(), start()
    go(whole, range(60))
    go(first, range(30))
    for old, new in zip(first, second, strict=True):
        new.load_state_dict(copy.deepcopy(old.state_dict()))
    go(second, range(30, 60))
    for a, b in zip(whole, second, strict=True):
        torch.testing.assert_close(a.state_dict(), b.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("name", CLIPPERS)
@pytest.mark.parametrize("policy", ["skip", "zero", "pass", "raise"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, 1e30])
def test_no_gradient_poisons_or_freezes(name: str, policy: Any, bad: float) -> None:
    net = make_net()
    optimizer = AdamW(net.parameters(), 0.01)
    clipper = CLIPPERS[name](nonfinite=policy).attach(optimizer=optimizer)
    for step in range(12):
        gradients(net, step, bad if step in (0, 3, 4) else 1.0)
        if policy == "raise" and bad != 0.0 and step in (0, 3, 4):
            with pytest.raises(NonFiniteGradientError, match=r"non-finite gradient in 0\.weight"):
                clipper(net)
            continue
        clipper(net)
        if policy == "pass" and bad != 0.0:
            return  # passed on as it is, as the user asked
        optimizer.step()
    before = copy.deepcopy(net.state_dict())
    gradients(net, 99)
    clipper(net)
    optimizer.step()
    for key, value in net.state_dict().items():
        assert value.isfinite().all()
        assert (value != before[key]).all(), "every weight still moves"


def test_an_update_that_overflows_moves_nothing() -> None:
    param = nn.Parameter(torch.ones(2))
    optimizer = SGD([param], 1e30)
    clipper = ClipUpdate(1.0).attach(optimizer=optimizer)
    param.grad = torch.tensor([1e20, 1.0])
    clipper([param])
    optimizer.step()
    assert param.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", CLIPPERS)
def test_copies_and_pickles_leave_the_optimizer_behind(name: str) -> None:
    net = make_net()
    optimizer = AdamW(net.parameters(), 0.05)
    clipper = CLIPPERS[name]().attach(optimizer=optimizer)
    gradients(net, 0)
    clipper(net)
    optimizer.step()
    for copied in (copy.deepcopy(clipper), pickle.loads(pickle.dumps(clipper))):
        torch.testing.assert_close(copied.state_dict(), clipper.state_dict(), rtol=0, atol=0)
        with pytest.raises(ValueError, match=r"call clipper.attach\(optimizer=optimizer\) first"):
            copied(net)
    assert clipper.steps.item() == 1


def test_detached_it_leaves_steps_alone() -> None:
    net = make_net()
    optimizer = SGD(net.parameters(), 1.0)
    clipper = ClipUpdate(1e-9).attach(optimizer=optimizer)
    clipper.detach()
    before = copy.deepcopy(net.state_dict())
    gradients(net, 0)
    optimizer.step()
    assert all((p - before[n]).norm() > 0.1 for n, p in net.state_dict().items())


@pytest.mark.parametrize("name", CLIPPERS)
def test_lbfgs_and_no_optimizer_are_refused(name: str) -> None:
    net = make_net()
    for optimizer in (None, LBFGS(net.parameters())):
        with pytest.raises(ValueError, match=f"got {'none' if optimizer is None else 'LBFGS'}$"):
            CLIPPERS[name]().attach(optimizer=optimizer)


@pytest.mark.parametrize("name", CLIPPERS)
def test_an_empty_parameter_changes_nothing(name: str) -> None:
    def run(empty: bool) -> tuple[dict[str, Tensor], float]:
        net = make_net()
        params = [*net.named_parameters()]
        if empty:
            params.insert(1, ("none", nn.Parameter(torch.zeros(0, 3))))
        optimizer = AdamW(params, 0.5)
        clipper = CLIPPERS[name]().attach(optimizer=optimizer)
        for step in range(3):
            gradients(net, step)
            for _, param in params:
                param.grad = torch.zeros_like(param) if param.grad is None else param.grad
            clipper(optimizer)
            optimizer.step()
        assert clipper.last_report is not None
        return net.state_dict(), clipper.last_report.norm.item()

    (with_it, norm), (without, same) = run(True), run(False)
    torch.testing.assert_close(with_it, without, rtol=0, atol=0)
    assert norm == same


def test_stable_update_takes_a_complex_number_for_two_real_ones_as_adam_does() -> None:
    start, scales_of = torch.linspace(-1, 1, 8).view(4, 2), (1.0, 20.0, 300.0)
    parts = [nn.Parameter(torch.view_as_complex(start.clone())), nn.Parameter(start.clone())]
    for param in parts:
        optimizer = AdamW([param], 0.1)
        clipper = StableUpdate().attach(optimizer=optimizer)
        for scale in scales_of:
            grad = torch.tensor([[1.0, -2.0], [3.0, 0.5], [-1.0, 1.0], [0.1, 4.0]]) * scale
            param.grad = torch.view_as_complex(grad) if param.is_complex() else grad
            clipper([param])
            optimizer.step()
        assert clipper.clipped_steps >= 2  # the first has an RMS of 1, to rounding
    # The mean of four sums of two or of eight numbers, to the rounding of float32.
    torch.testing.assert_close(torch.view_as_real(parts[0].detach()), parts[1].detach())
