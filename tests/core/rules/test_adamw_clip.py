"""The preset adamw_clip: the weights of the package AdamWClip, and of its formula."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hydra.utils import instantiate
from torch import nn
from torch.optim import AdamW

from gradclip_core import Spam
from tests.core.rules.test_spam import assert_close, gradients, make_net
from tests.presets import preset

Holding = Callable[..., list[nn.Parameter]]


def test_adamw_under_the_preset_is_adamw_clip() -> None:
    """From the second step on: in the first theirs cuts every gradient to 1e-10."""
    peer = pytest.importorskip("AdamWClip", reason="AdamWClip is not installed")
    net = make_net(torch.float64)
    twin = copy.deepcopy(net)
    ours = AdamW(net.parameters(), 0.01, betas=(0.8, 0.95), weight_decay=0.1)
    theirs = peer.AdamWClip(
        twin.parameters(), 0.01, betas=(0.8, 0.95), weight_decay=0.1, clip_grad_warm_up=1
    )
    clipper = adamw_clip().attach(optimizer=ours)
    for step in range(200):
        for n in (net, twin):
            gradients(n, step)
        report = clipper(net)
        ours.step()
        theirs.step()
        assert_close(net, twin, 1e-9)
    assert 0.1 < report.clip_rate.item() < 1


def test_the_preset_cuts_at_three_deviations(holding: Holding) -> None:
    (param,) = holding(torch.tensor([1.0, -2.0, 0.0], dtype=torch.float64))
    optimizer = AdamW([param], 0.01, betas=(0.9, 0.9))
    clipper = adamw_clip().attach(optimizer=optimizer)
    clipper([param])
    optimizer.step()
    param.grad = torch.tensor([-50.0, 5.0, 7.0], dtype=torch.float64)
    report = clipper([param])
    # v / (1 - b2) is the first square, and an element without a gradient so far is not cut.
    torch.testing.assert_close(param.grad, torch.tensor([-3.0, 5.0, 7.0], dtype=torch.float64))
    assert report.norms.item() == pytest.approx(50.0)
    optimizer.step()
    param.grad = torch.full((3,), 1e6, dtype=torch.float64)
    clipper([param])
    mean = (0.9 * torch.tensor([1.0, 4.0, 0.0]) + torch.tensor([9.0, 25.0, 49.0])) / 1.9
    torch.testing.assert_close(param.grad, 3 * mean.double().sqrt(), rtol=1e-6, atol=0)


def adamw_clip() -> Spam:
    made: Spam = instantiate(preset("adamw_clip"), _convert_="all")
    return made
