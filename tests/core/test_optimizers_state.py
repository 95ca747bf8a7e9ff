"""The state of an optimizer that clips: copied, pickled, and resumed to the last bit."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from gradclip_core import (
    ClipNorm,
    ClipUpdate,
    Percentile,
    Spam,
    optimizers,
)
from gradclip_core.optimizers import clipped
from tests.core.test_optimizers import assert_same, go, make_net

MADE: dict[str, Callable[[nn.Module], Any]] = {
    "adamw": lambda n: optimizers.AdamW(n.parameters(), 0.02, clipper=ClipNorm(Percentile(30.0))),
    "fused": lambda n: optimizers.SGD(
        n.parameters(), 0.02, momentum=0.9, fused=True, clipper=ClipNorm(Percentile(30.0))
    ),
    "update": lambda n: optimizers.RMSprop(n.parameters(), 0.02, clipper=ClipUpdate(0.05)),
    "spam": lambda n: optimizers.Adam(
        n.parameters(), 0.02, clipper=Spam(2.0, warmup_steps=1, reset_every=4, lr_warmup_steps=2)
    ),
    "own": lambda n: clipped(_Own)(n.parameters(), 0.02, clipper=ClipNorm(Percentile(30.0))),
}


class _Own(torch.optim.SGD):
    """An optimizer of a user's."""


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("way", ["deepcopy", "pickle", "torch"])
def test_a_copy_goes_on_like_the_original_and_leaves_it_alone(name: str, way: str) -> None:
    net = make_net()
    optimizer = MADE[name](net)
    go(net, optimizer, range(5))
    both = (net, optimizer)
    if way == "deepcopy":
        twin, copied = copy.deepcopy(both)
    elif way == "pickle":
        twin, copied = pickle.loads(pickle.dumps(both))
    else:
        torch.save(both, buffer := io.BytesIO())
        buffer.seek(0)
        twin, copied = torch.load(buffer, weights_only=False)
    assert type(copied) is type(optimizer)
    go(net, optimizer, range(5, 12))
    assert copied.clipper.steps.item() == 5
    go(twin, copied, range(5, 12))
    assert_same(net, twin)
    assert copied.clipper.steps.item() == optimizer.clipper.steps.item() == 12
    assert copied.last_report.norm.item() == optimizer.last_report.norm.item()


@pytest.mark.parametrize("name", MADE)
def test_the_state_dict_holds_the_clipper_and_resumes_bit_for_bit(name: str) -> None:
    whole, first, second = make_net(), make_net(), make_net()
    uncut, half, rest = MADE[name](whole), MADE[name](first), MADE[name](second)
    go(whole, uncut, range(14))
    go(first, half, range(7))
    torch.save({"net": first.state_dict(), "optimizer": half.state_dict()}, buffer := io.BytesIO())
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    second.load_state_dict(saved["net"])
    rest.load_state_dict(saved["optimizer"])
    go(second, rest, range(7, 14))
    assert_same(whole, second)
    torch.testing.assert_close(uncut.state_dict(), rest.state_dict(), rtol=0, atol=0)
