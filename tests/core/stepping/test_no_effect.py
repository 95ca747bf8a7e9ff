"""Warnings where clipping cannot do what is expected of it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from gradclip_core import (
    ByName,
    ClipNorm,
    Clipper,
    ClipUpdate,
    ClipValue,
    NoClip,
    Percentile,
    UClip,
    chain,
    optimizers,
)

has_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9")


class Lion(torch.optim.SGD):
    """Stands for the optimizer of that name, which is not torch's."""


class MyLion(Lion):
    """A user's own, derived from it."""


def params() -> list[nn.Parameter]:
    return [nn.Parameter(torch.ones(2, 2))]


@pytest.mark.parametrize(
    ("optimizer", "name"),
    [
        (lambda: Lion(params(), 0.1), "Lion"),
        (lambda: MyLion(params(), 0.1), "Lion"),
        pytest.param(lambda: torch.optim.Muon(params()), "Muon", marks=has_muon),
        (lambda: torch.optim.Rprop(params()), "Rprop"),
    ],
)
@pytest.mark.parametrize("clipper", [ClipNorm(1.0), ClipValue(Percentile(10))])
def test_steps_of_one_size_are_not_bounded(clipper: Any, optimizer: Any, name: str) -> None:
    with pytest.warns(UserWarning, match=f"^{name} makes steps of one size") as caught:
        clipper.attach(optimizer=optimizer())
    assert len(caught) == 1
    assert type(clipper).__name__ in str(caught[0].message)


@has_muon
def test_a_twin_warns_as_well() -> None:
    with pytest.warns(UserWarning, match=r"^Muon makes steps of one size .*: ClipNorm cannot"):
        optimizers.Muon(params(), clipper=ClipNorm(1.0))


@pytest.mark.parametrize("clipper", [ClipNorm(math.inf), ClipValue(math.inf), ClipUpdate(math.inf)])
def test_an_infinite_threshold_never_clips(clipper: Any) -> None:
    kind = type(clipper).__name__
    with pytest.warns(UserWarning, match=f"^{kind} never clips, since its threshold is inf"):
        clipper.attach(optimizer=torch.optim.SGD(params(), 0.1))


def test_each_clipper_of_a_chain_is_looked_at() -> None:
    with pytest.warns(UserWarning, match="whatever the gradient's|never clips") as caught:
        chain(ClipNorm(1.0), ClipValue(math.inf)).attach(optimizer=Lion(params(), 0.1))
    assert len(caught) == 3


@pytest.mark.parametrize(
    ("clipper", "optimizer"),
    [
        (NoClip(), Lion),
        (NoClip(), torch.optim.SGD),
        (ClipUpdate(1.0), Lion),
        (ClipNorm(1.0), torch.optim.SGD),
        (ClipNorm(1.0), None),
    ],
)
def test_nothing_is_said_where_all_is_well(clipper: Any, optimizer: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clipper.attach(optimizer=optimizer and optimizer(params(), 0.1))


def test_lbfgs_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="^LBFGS takes the curvature from differences"):
        ClipNorm(1.0).attach(optimizer=torch.optim.LBFGS(params()))


@pytest.mark.parametrize("optimizer", [lambda: torch.optim.LBFGS(params()), lambda: Lion(params())])
def test_an_optimizer_that_is_handed_to_the_call_is_told_of_once(optimizer: Any) -> None:
    made = optimizer()
    clipper = chain(ClipNorm(1.0), NoClip())
    for param in made.param_groups[0]["params"]:
        param.grad = torch.ones_like(param)
    with pytest.warns(UserWarning, match="ClipNorm") as caught:
        clipper(made)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clipper(made)
        NoClip()(made)
        ClipNorm(1.0)(torch.optim.SGD(made.param_groups[0]["params"]))


def test_an_attached_one_is_told_of_by_attach_alone() -> None:
    made = Lion(params())
    with pytest.warns(UserWarning, match="Lion"):
        clipper = ClipNorm(1.0).attach(optimizer=made)
    made.param_groups[0]["params"][0].grad = torch.ones(2, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clipper(made)


CALLED: dict[str, Callable[[], Clipper]] = {
    "norm": lambda: ClipNorm(1.0),
    "nothing": NoClip,
    "chain": lambda: chain(ClipValue(1.0), ClipNorm(1.0)),
    "names": lambda: ByName({"weight": ClipNorm(1.0)}),
    "carry": lambda: UClip(ClipNorm(1.0)),
}


def loop(clipper: Clipper, backward: Sequence[int], *, too_early: bool) -> None:
    """Ten steps; the backward pass of these ones comes after the clipper if it is too early."""
    net = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for step in range(10):
        optimizer.zero_grad()
        if too_early:
            clipper(net)
        if step in backward:
            net(torch.ones(1, 2)).sum().backward()
        if not too_early:
            clipper(net)
        optimizer.step()


@pytest.mark.parametrize("rule", CALLED)
def test_calls_before_backward_are_told_of_once(rule: str) -> None:
    with pytest.warns(UserWarning, match=r"has found no gradient yet: .* after backward") as told:
        loop(CALLED[rule](), range(10), too_early=True)
    assert len(told) == 1


@pytest.mark.parametrize("rule", CALLED)
def test_steps_without_gradients_are_none_after_one_that_had_some(rule: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loop(CALLED[rule](), [2], too_early=False)


def test_a_rule_whose_layers_are_frozen_is_none_of_a_loop() -> None:
    net = nn.Linear(2, 1)
    net.bias.requires_grad_(False)
    clipper = ByName({"bias": ClipNorm(1.0)}, otherwise=ClipNorm(1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(10):
            net(torch.ones(1, 2)).sum().backward()
            clipper(net)
