"""Leaving parameters alone: by name and by dimensions, but never out of the guard's sight."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from gradclip_core import ClipNorm, Clipper, ClipValue, NoClip, NonFiniteGradientError, Percentile


def net() -> nn.Module:
    module = nn.Module()
    module.body = nn.Linear(2, 2)
    module.head = nn.Linear(2, 1)
    for scale, param in enumerate(module.parameters(), start=1):
        param.grad = torch.full_like(param, 10.0 * scale)
    return module


MAKE: dict[str, Any] = {
    "norm": lambda **kw: ClipNorm(1.0, **kw),
    "rows": lambda **kw: ClipNorm(1.0, by="row", **kw),
    "smooth": lambda **kw: ClipNorm(1.0, response="soft", **kw),
    "value": lambda **kw: ClipValue(1.0, **kw),
}


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        ({}, [True, True, True, True]),
        ({"exclude": "^head"}, [True, True, False, False]),
        ({"exclude": "bias$"}, [True, False, True, False]),
        ({"min_ndim": 2}, [True, False, True, False]),
        ({"exclude": "^head", "min_ndim": 2}, [True, False, False, False]),
        ({"exclude": ""}, [False, False, False, False]),
    ],
)
def test_what_is_left_alone_keeps_every_bit(
    kind: str, settings: dict[str, Any], changed: list[bool]
) -> None:
    module = net()
    before = [param.grad.clone() for param in module.parameters()]
    MAKE[kind](**settings)(module)
    pairs = zip(module.parameters(), before, strict=True)
    assert [not torch.equal(param.grad, grad) for param, grad in pairs] == changed


def test_what_is_left_alone_does_not_count() -> None:
    module = net()
    report = ClipNorm(5.0, exclude="^head", eps=0)(module)
    alone = ClipNorm(5.0, eps=0)(net().body)
    for norm in (report.norm, alone.norm):
        assert norm.item() == pytest.approx(1200**0.5, rel=1e-14)
    assert list(report.names) == ["body.weight", "body.bias"]
    assert report.worst_parameter == "body.bias"


def test_no_clip_measures_without_them() -> None:
    assert NoClip(exclude="body", min_ndim=2)(net()).norm.item() == pytest.approx(30 * 2**0.5)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_gradient_among_them_still_skips_the_whole_step(bad: float) -> None:
    module = net()
    module.head.weight.grad[0, 0] = bad
    report = ClipNorm(1.0, exclude="^head")(module)
    assert report.skipped.item() is True
    assert [param.grad for param in module.parameters()] == [None] * 4


def test_a_bad_gradient_elsewhere_drops_them_too() -> None:
    module = net()
    module.body.weight.grad[0, 0] = math.nan
    ClipNorm(1.0, exclude="^head")(module)
    assert [param.grad for param in module.parameters()] == [None] * 4


def test_the_other_policies_see_them_as_well() -> None:
    module = net()
    module.head.weight.grad[0, 0] = math.inf
    with pytest.raises(NonFiniteGradientError, match=r"head\.weight \(0 NaN, 1 inf\)"):
        ClipNorm(1.0, exclude="^head", nonfinite="raise")(module)
    ClipNorm(1.0, exclude="^head", nonfinite="zero")(module)
    assert module.head.weight.grad.tolist() == [[0.0, 30.0]]
    clipper = ClipNorm(1.0, exclude="", nonfinite="pass", patience=1)
    module.head.weight.grad[0, 0] = math.nan
    with pytest.raises(NonFiniteGradientError, match="gave up after 1"):
        clipper(module)


@pytest.mark.parametrize("parameters", ["list", "optimizer"])
def test_a_pattern_needs_names(parameters: str) -> None:
    module = net()
    given = {"list": list(module.parameters()), "optimizer": torch.optim.SGD(module.parameters())}
    with pytest.raises(ValueError, match=r"^exclude='\^head' needs parameter names: pass the mod"):
        ClipNorm(1.0, exclude="^head")(given[parameters])
    ClipNorm(1.0, min_ndim=2)(given[parameters])
    assert module.body.bias.grad.tolist() == [20.0, 20.0]


def test_a_statistic_does_not_see_them() -> None:
    clipper = ClipNorm(Percentile(50), by="parameter", min_ndim=2)
    clipper(net())
    assert clipper.threshold.count.tolist() == [1, 1]


@pytest.mark.parametrize("make", [lambda **kw: ClipNorm(1.0, **kw), NoClip, MAKE["value"]])
@pytest.mark.parametrize(
    ("name", "bad", "allowed"),
    [
        *[("exclude", v, "a regular expression or None") for v in ("(", 3, ["a"])],
        *[("min_ndim", v, "an integer >= 0") for v in (-1, 1.0, True, None, "2")],
    ],
)
def test_arguments_are_checked(make: Any, name: str, bad: Any, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be {allowed}, got ") as caught:
        make(**{name: bad})
    assert repr(bad) in str(caught.value)


def test_clippers_with_a_pattern_can_be_copied() -> None:
    clipper: Clipper = ClipNorm(1.0, exclude="^head")
    for twin in (copy.deepcopy(clipper), pickle.loads(pickle.dumps(clipper))):
        module = net()
        twin(module)
        assert module.head.weight.grad.tolist() == [[30.0, 30.0]]
