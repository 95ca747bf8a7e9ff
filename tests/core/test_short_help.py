"""What the constructor alone reads cannot be set on an object, where it would do nothing."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from gradclip_core import (
    ByName,
    Chain,
    ClipBackward,
    ClipNorm,
    ClipUpdate,
    ClipValue,
    Fixed,
    Median,
    NoClip,
    PowerClip,
    RandomClip,
    Rule,
    Spam,
    Spectra,
    StableUpdate,
    UClip,
)

MADE: dict[str, Callable[[], Any]] = {
    "norm": lambda: ClipNorm(1.0),
    "copy": lambda: copy.deepcopy(ClipNorm(1.0)),
    "value": lambda: ClipValue(1.0),
    "none": NoClip,
    "power": lambda: PowerClip(1.0),
    "random": lambda: RandomClip(1.0),
    "update": lambda: ClipUpdate(1.0),
    "stable": StableUpdate,
    "spectra": Spectra,
    "spam": Spam,
    "backward": lambda: ClipBackward(1.0),
    "names": lambda: ByName({"a": ClipNorm(1.0)}),
    "chain": lambda: Chain([ClipNorm(1.0)]),
    "carry": lambda: UClip(ClipNorm(1.0)),
    "median": lambda: Median(2.0),
}


@pytest.mark.parametrize("kind", MADE)
def test_a_setting_is_an_attribute_or_refused(kind: str) -> None:
    made = MADE[kind]()
    for name in inspect.signature(type(made)).parameters:
        if hasattr(made, name):
            continue
        with pytest.raises(AttributeError, match=f"^{name} is read when a .* make another"):
            setattr(made, name, 0.5)
        assert not hasattr(made, name)
    made.note = "of a user's own"
    assert made.note


def test_the_bound_may_be_another_from_some_step_on() -> None:
    clipper, weight = ClipNorm(1.0, eps=0), nn.Parameter(torch.zeros(2))
    with pytest.raises(AttributeError, match=r"a new bound is a new \.threshold, such as Fixed"):
        clipper.max_norm = 2.0
    for bound in (1.0, 2.0):
        clipper.threshold = Fixed(bound)
        weight.grad = torch.tensor([3.0, 4.0])
        # 5 / 5 and 10 / 5 are exact; the factor is rounded once.
        assert clipper([weight]).clipped_norm.item() == pytest.approx(bound, rel=1e-12)
    clipper.threshold.value = 0.5
    assert clipper([weight]).clipped_norm.item() == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize("bad", [-1.0, 0, "1", None, torch.nan])
def test_a_bound_is_checked_whenever_it_is_set(bad: Any) -> None:
    clipper = ClipNorm(1.0)
    with pytest.raises(ValueError, match=r"^threshold must be a number > 0, got "):
        clipper.threshold.value = bad
    assert clipper.threshold.value == 1.0


def test_parts_may_be_others_from_some_step_on() -> None:
    net = nn.Linear(3, 2)
    clipper = ClipNorm(1.0, measure="rms")
    for by, parts in (("model", 1), ("parameter", 2), ("row", 3), ("model", 1)):
        clipper.by = by  # type: ignore[assignment]
        for param in net.parameters():
            param.grad = torch.ones_like(param)
        assert len(clipper(net).norms) == parts


def test_a_class_of_ones_own_may_keep_its_settings_as_attributes() -> None:
    class Halved(Rule):
        def __init__(self, max_norm: float) -> None:
            super().__init__(Fixed(max_norm))
            self.max_norm = max_norm

    made = Halved(1.0)
    made.max_norm = 2.0
    assert made.max_norm == 2.0
