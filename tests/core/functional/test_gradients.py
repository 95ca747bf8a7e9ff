"""Gradients outside `.grad`: the values of the rule in place, differentiable, in any structure."""

from __future__ import annotations

import math
from collections import OrderedDict, namedtuple
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from gradclip_core import ClipNorm, Clipper, ClipValue, NonFiniteGradientError, Percentile, UClip
from gradclip_core.functional import clip_gradients

Pair = namedtuple("Pair", "weight bias")

RULES: dict[str, Clipper] = {
    "norm": ClipNorm(0.5),
    "exact": ClipNorm(0.5, eps=0),
    "order": ClipNorm(0.5, norm_type=1),
    "largest": ClipNorm(0.1, norm_type=math.inf),
    "parameter": ClipNorm(0.3, by="parameter"),
    "module": ClipNorm(0.3, by="module"),
    "mapping": ClipNorm(0.3, by={"first": r"^0\."}),
    "row": ClipNorm(0.2, by="row"),
    "rms": ClipNorm(0.1, by="parameter", measure="rms"),
    "rms of rows": ClipNorm(0.1, by="row", measure="rms"),
    "budget": ClipNorm(0.5, by="parameter", budget="size"),
    "exclude": ClipNorm(0.3, exclude=r"^2\.", min_ndim=2),
    "soft": ClipNorm(0.5, response="soft"),
    "tanh": ClipNorm(0.5, response="tanh", by="parameter"),
    "huber": ClipNorm(0.5, response="huber"),
    "normalize": ClipNorm(0.5, response="normalize"),
    "value": ClipValue(0.1),
    "pair": ClipValue((-0.1, 0.2)),
    "value tanh": ClipValue(0.1, response="tanh"),
    "value of rows": ClipValue(0.1, by="row"),
}


def named(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    made = torch.Generator().manual_seed(0)
    shapes = {"0.weight": (4, 3), "0.bias": (4,), "2.weight": (2, 4), "2.bias": (2,)}
    return {name: torch.randn(s, generator=made).to(dtype) for name, s in shapes.items()}


def in_place(grads: dict[str, Tensor], rule: Clipper) -> dict[str, Tensor]:
    params = {name: nn.Parameter(torch.zeros_like(grad)) for name, grad in grads.items()}
    for name, param in params.items():
        param.grad = grads[name].clone()
    rule(list(params.items()))
    return {name: param.grad for name, param in params.items() if param.grad is not None}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("rule", RULES)
def test_values_are_those_of_the_rule(rule: str, dtype: torch.dtype) -> None:
    grads = named(dtype)
    before = {name: grad.clone() for name, grad in grads.items()}
    found = clip_gradients(grads, RULES[rule])
    expected = in_place(grads, RULES[rule])
    digits = 1e-2 if dtype is torch.bfloat16 else 1e-6
    torch.testing.assert_close(found, expected, rtol=digits, atol=digits * 0.1)
    torch.testing.assert_close(grads, before, rtol=0, atol=0)
    assert any(not torch.equal(found[name], grads[name]) for name in grads)


@pytest.mark.parametrize("rule", RULES)
def test_derivatives_are_those_of_finite_differences(rule: str) -> None:
    grads = named(torch.float64)
    names = list(grads)

    def clipped(*values: Tensor) -> tuple[Tensor, ...]:
        found = clip_gradients(dict(zip(names, values, strict=True)), RULES[rule])
        return tuple(found.values())

    inputs = [grad.requires_grad_() for grad in grads.values()]
    assert torch.autograd.gradcheck(clipped, inputs)


STRUCTURES: dict[str, Any] = {
    "list": list,
    "tuple": tuple,
    "dict": lambda grads: dict(zip("ab", grads, strict=True)),
    "ordered": lambda grads: OrderedDict(zip("ab", grads, strict=True)),
    "named tuple": lambda grads: Pair(*grads),
}


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_structure_stays_with_what_is_missing(structure: str) -> None:
    given = STRUCTURES[structure]([torch.full((4,), 5.0), None])
    found = clip_gradients(given, ClipNorm(1.0))
    assert type(found) is type(given)
    first, second = found.values() if isinstance(found, dict) else found
    assert first.norm().item() == pytest.approx(1.0, rel=1e-5)
    assert second is None
    empty = STRUCTURES[structure]([torch.ones(0), None])
    assert type(clip_gradients(empty, ClipNorm(1.0))) is type(empty)


def test_an_inner_loop_learns_through_it() -> None:
    torch.manual_seed(0)
    net = nn.Linear(3, 1)
    params = dict(net.named_parameters())
    x, y = torch.randn(8, 3), torch.randn(8, 1) * 10

    def loss_of(weights: dict[str, Tensor]) -> Tensor:
        return nn.functional.mse_loss(functional_call(net, weights, (x,)), y)

    grads = torch.autograd.grad(loss_of(params), list(params.values()), create_graph=True)
    clipped = clip_gradients(dict(zip(params, grads, strict=True)), ClipNorm(1.0))
    moved = {name: param - 0.1 * clipped[name] for name, param in params.items()}
    outer = torch.autograd.grad(loss_of(moved), list(params.values()))
    assert all(grad.isfinite().all() and grad.abs().sum() > 0 for grad in outer)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("make", [ClipNorm, ClipValue])
def test_the_policies_for_what_is_not_finite(make: Any, bad: float) -> None:
    grads = [torch.tensor([3.0, bad]), torch.tensor([4.0])]
    assert all((grad == 0).all() for grad in clip_gradients(grads, make(1.0)))
    first, second = clip_gradients(grads, make(1.0, nonfinite="zero"))
    assert first[1] == 0
    assert 0 < second.item() <= 1
    with pytest.raises(NonFiniteGradientError):
        clip_gradients(grads, make(1.0, nonfinite="raise"))
    passed = clip_gradients(grads, make(1.0, nonfinite="pass"))
    expected = in_place({"a": grads[0], "b": grads[1]}, make(1.0, nonfinite="pass"))
    torch.testing.assert_close(passed, list(expected.values()), equal_nan=True)


def test_nothing_is_counted_and_zeros_stay() -> None:
    rule = ClipNorm(1.0, response="tanh")
    assert clip_gradients((torch.zeros(3),), rule)[0].tolist() == [0, 0, 0]
    assert rule.steps.item() == 0
    assert rule.last_report is None


@pytest.mark.parametrize(
    ("gradients", "rule", "error", "message"),
    [
        ([torch.ones(2)], UClip(ClipNorm(1.0)), TypeError, "ClipNorm or ClipValue, got UClip"),
        ([torch.ones(2)], 1.0, TypeError, "ClipNorm or ClipValue, got float"),
        ([torch.ones(2)], ClipNorm(Percentile(5)), ValueError, "must be a number, got Percentile"),
        ([torch.ones(2)], ClipNorm(1.0, response="skip"), ValueError, "must not be 'skip'"),
        (torch.ones(2), ClipNorm(1.0), TypeError, "a list, tuple or dict of tensors, got Tensor"),
        ([1.0], ClipNorm(1.0), TypeError, "must hold tensors or None, got float"),
        ([torch.ones(2)], ClipNorm(1.0, exclude="a"), ValueError, "needs parameter names"),
    ],
)
def test_what_cannot_be_is_refused(gradients: Any, rule: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        clip_gradients(gradients, rule)
