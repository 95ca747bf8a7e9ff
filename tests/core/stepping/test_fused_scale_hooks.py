"""What folding leaves on an optimizer: nothing beyond the step that it was for."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW

from gradclip_core import ClipNorm
from tests.core.stepping.test_fused_scale import gradients, make_net, step_under_fold


def test_a_scale_of_ones_own_is_multiplied_and_put_back() -> None:
    param = nn.Parameter(torch.zeros(2))
    optimizer = SGD([param], 1.0, fused=True)
    optimizer.grad_scale = scale = torch.tensor(4.0)  # type: ignore[attr-defined]
    assert step_under_fold(param, optimizer, torch.tensor([30.0, 40.0])) == "folded"
    assert param.tolist() == pytest.approx([-0.15, -0.2])
    assert optimizer.grad_scale is scale  # type: ignore[attr-defined]


def test_a_call_that_no_step_followed_is_forgotten() -> None:
    param = nn.Parameter(torch.zeros(1))
    optimizer = SGD([param], 1.0, fused=True)
    clipper = ClipNorm(1.0, eps=0)
    clipper.fold_into(optimizer)
    param.grad = torch.tensor([100.0])
    assert clipper([param]).path == "folded"
    param.grad = torch.tensor([0.5])
    assert clipper([param]).path == "none"
    optimizer.step()
    assert param.item() == -0.5


def test_a_closure_clips_inside_the_step() -> None:
    param = nn.Parameter(torch.zeros(1))
    optimizer = AdamW([param], 1.0, fused=True)
    clipper = ClipNorm(1.0, eps=0)
    clipper.fold_into(optimizer)
    paths = []

    def closure(size: float) -> float:
        param.grad = torch.tensor([size])
        paths.append(clipper([param]).path)
        return 0.0

    for size in (50.0, 0.5, 3.0):
        optimizer.step(lambda size=size: closure(size))  # type: ignore[misc]
        assert not hasattr(optimizer, "grad_scale")
    assert paths == ["folded", "none", "folded"]
    moment = optimizer.state[param]["exp_avg_sq"].item()
    assert moment == pytest.approx(0.001 * (0.999**2 + 0.25 * 0.999 + 1), rel=1e-5)


def test_a_step_that_breaks_off_leaves_nothing_behind() -> None:
    param = nn.Parameter(torch.zeros(1))
    optimizer = SGD([param], 1.0, fused=True)
    clipper = ClipNorm(1.0, eps=0)
    clipper.fold_into(optimizer)

    def closure() -> float:
        param.grad = torch.tensor([100.0])
        clipper([param])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure)
    param.grad = torch.tensor([0.5])
    optimizer.step()
    assert param.item() == -0.5
    clipper.detach()
    assert not hasattr(optimizer, "grad_scale")


@pytest.mark.parametrize("way", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_copies_and_detached_clippers_do_not_fold(way: Any) -> None:
    net = make_net()
    optimizer = AdamW(net.parameters(), fused=True)
    clipper = ClipNorm(1.0)
    clipper.fold_into(optimizer)
    gradients(net, 2)
    assert way(clipper)(net).path == "in place"
    gradients(net, 2)
    assert clipper(net).path == "folded"
    clipper.detach()
    gradients(net, 2)
    assert clipper(net).path == "in place"
