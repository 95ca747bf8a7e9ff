"""A clipper that learns and is called with two networks in turn: told of, once."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from gradclip_core import ClipNorm, Clipper, ClipValue, Ema, Median, Percentile

LEARNT: dict[str, Callable[[], Clipper]] = {
    "model": lambda: ClipNorm(Percentile(50.0)),
    "parameter": lambda: ClipNorm(Median(2.0), by="parameter"),
    "value": lambda: ClipValue(Ema(1.0)),
}


def call(clipper: Clipper, params: Any) -> None:
    held = [p[1] if isinstance(p, tuple) else p for p in params]
    for param in held:
        param.grad = torch.ones_like(param)
    clipper(params)


def nets() -> list[nn.Module]:
    return [nn.Linear(3, 2), nn.Linear(3, 2)]


def named(net: nn.Module) -> list[Any]:
    return list(net.named_parameters())


def unnamed(net: nn.Module) -> list[Any]:
    return list(net.parameters())


@pytest.mark.parametrize("given", [named, unnamed])
@pytest.mark.parametrize("rule", LEARNT)
def test_two_networks_in_turn_are_told_of_once(rule: str, given: Callable[..., Any]) -> None:
    clipper, (first, second) = LEARNT[rule](), nets()
    call(clipper, given(first))
    call(clipper, given(second))  # it may be its turn for good
    with pytest.warns(
        UserWarning, match="two sets of parameters in turn, .* one clipper for each"
    ) as told:
        call(clipper, given(first))
    assert len(told) == 1
    call(clipper, given(second))
    for way in (copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))):
        other = way(LEARNT[rule]())
        for _ in range(3):
            call(other, given(first))


def test_layers_of_one_network_come_and_go() -> None:
    net, by_model, by_layer = nn.Sequential(*nets()), LEARNT["model"](), LEARNT["parameter"]()
    both, pieces = named(net), [named(net)[:2], named(net)[2:]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for params in (pieces[0], both, pieces[1], both, pieces[0], both):
            call(by_model, params)
        for _ in range(3):
            for params in pieces:
                call(by_layer, params)


def test_without_a_history_there_is_nothing_to_share() -> None:
    clipper = ClipNorm(1.0)
    for net in nets() * 3:
        call(clipper, named(net))
