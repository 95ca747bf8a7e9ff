"""What rules on elements and moments keep: it resumes, is copied, and no gradient poisons it."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from gradclip_core import Clipper, NonFiniteGradientError
from tests.core.rules.test_spam import CLIPPERS, gradients, make_net


def step_all(net: nn.Module, optimizer: Optimizer, clipper: Clipper, steps: range) -> None:
    for step in steps:
        gradients(net, step)
        clipper(net)
        optimizer.step()


@pytest.mark.parametrize("name", CLIPPERS)
def test_training_resumes_bit_for_bit(name: str) -> None:
    def start() -> tuple[nn.Module, Optimizer, Clipper]:
        net = make_net()
        optimizer = AdamW(net.parameters(), 0.05)
        return net, optimizer, CLIPPERS[name]().attach(optimizer=optimizer)

    whole, first, second = start(), start(), start()
    step_all(*whole, range(40))
    step_all(*first, range(20))
    for old, new in zip(first, second, strict=True):
        new.load_state_dict(copy.deepcopy(old.state_dict()))
    step_all(*second, range(20, 40))
    for a, b in zip(whole, second, strict=True):
        torch.testing.assert_close(a.state_dict(), b.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("name", CLIPPERS)
@pytest.mark.parametrize("policy", ["skip", "zero", "raise"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, 1e30])
def test_no_gradient_poisons_or_freezes(name: str, policy: Any, bad: float) -> None:
    net = make_net()
    optimizer = AdamW(net.parameters(), 0.01)
    clipper = CLIPPERS[name](nonfinite=policy).attach(optimizer=optimizer)
    # ACClip knows no size before the first gradient: what is huge then is usual.
    broken = (3, 4) if name == "acclip" and bad == 1e30 else (0, 3, 4)
    for step in range(12):
        gradients(net, step, bad if step in broken else 1.0)
        try:
            clipper(net)
        except NonFiniteGradientError:
            assert policy == "raise"
            assert step in broken
            continue
        optimizer.step()
    before = copy.deepcopy(net.state_dict())
    gradients(net, 99)
    clipper(net)
    optimizer.step()
    for key, value in net.state_dict().items():
        assert value.isfinite().all()
        assert (value != before[key]).all(), "every weight still moves"


@pytest.mark.parametrize("name", CLIPPERS)
def test_what_passes_enters_no_average(name: str) -> None:
    net = make_net()
    optimizer = AdamW(net.parameters(), 0.01)
    clipper = CLIPPERS[name](nonfinite="pass").attach(optimizer=optimizer)
    step_all(net, optimizer, clipper, range(5))
    gradients(net, 5, math.nan)
    clipper(net)
    assert all(param.grad.isnan().all() for param in net.parameters())
    state = [v for v in clipper.state_dict().values() if isinstance(v, torch.Tensor)]
    assert all(value.isfinite().all() for value in state)


@pytest.mark.parametrize("name", CLIPPERS)
def test_copies_and_pickles_hold_the_state_and_no_optimizer(name: str) -> None:
    net = make_net()
    optimizer = AdamW(net.parameters(), 0.05)
    clipper = CLIPPERS[name]().attach(optimizer=optimizer)
    step_all(net, optimizer, clipper, range(3))
    for copied in (copy.deepcopy(clipper), pickle.loads(pickle.dumps(clipper))):
        torch.testing.assert_close(copied.state_dict(), clipper.state_dict(), rtol=0, atol=0)
        if name != "acclip":
            gradients(net, 3)
            with pytest.raises(ValueError, match=r"needs the optimizer: call clipper.attach"):
                copied(net)
