"""Lazy layers, whose parameters have no shape until they are first called."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradclip_core import (
    ByName,
    ClipNorm,
    Clipper,
    ClipUpdate,
    ClipValue,
    Median,
    Relative,
    UClip,
    chain,
    clip_in_step,
)

RULES: dict[str, Callable[[], Clipper]] = {
    "norm": lambda: ClipNorm(0.1),
    "row": lambda: ClipNorm(Relative(0.1), by="row"),
    "history": lambda: ClipNorm(Median(0.5), by="parameter"),
    "weights": lambda: ClipNorm(0.1, min_ndim=2),
    "names": lambda: ByName({"bias": ClipValue(0.1)}, otherwise=ClipNorm(0.1)),
    "carry": lambda: UClip(ClipValue(0.1)),
    "update": lambda: ClipUpdate(0.01, by="row"),
    "chain": lambda: chain(ClipValue(0.5), ClipUpdate(0.01)),
}
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "plain": lambda params: torch.optim.SGD(params, 0.1, momentum=0.9),
    "fused": lambda params: torch.optim.SGD(params, 0.1, momentum=0.9, fused=True),
}


def inputs(step: int) -> Tensor:
    return torch.linspace(-1, 1, 12).view(3, 4) * (step + 1)


@pytest.mark.parametrize("never_called", [False, True])
@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("rule", RULES)
def test_the_weights_are_those_of_ordinary_layers(rule: str, kind: str, never_called: bool) -> None:
    lazy = nn.Sequential(nn.LazyLinear(5), nn.LazyLinear(2))
    whole: nn.Module = lazy
    if never_called:
        whole = nn.ModuleList([nn.LazyLinear(3), lazy])
    optimizer = OPTIMIZERS[kind](whole.parameters())
    clip_in_step(optimizer, RULES[rule]()).attach(model=whole)
    lazy(inputs(0))  # which gives the parameters their shapes
    plain = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2))
    plain.load_state_dict(copy.deepcopy(lazy.state_dict()))
    other = OPTIMIZERS[kind](plain.parameters())
    clip_in_step(other, RULES[rule]()).attach(model=plain)
    for step in range(3):
        for net, steps in ((lazy, optimizer), (plain, other)):
            steps.zero_grad()
            net(inputs(step)).square().sum().backward()
            steps.step()
    torch.testing.assert_close(dict(lazy.state_dict()), dict(plain.state_dict()), rtol=0, atol=0)


@pytest.mark.parametrize("rule", ["norm", "row", "history", "weights"])
def test_a_call_before_the_layers_have_shapes_finds_nothing(rule: str) -> None:
    lazy = nn.Sequential(nn.LazyLinear(5), nn.LazyLinear(2))
    clipper = RULES[rule]()
    assert clipper(lazy).norm == 0
    lazy(inputs(0)).square().sum().backward()
    assert clipper(lazy).norm > 0
    assert clipper.state_dict()["steps"] == 1
