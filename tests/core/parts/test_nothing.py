"""Nothing to clip: a word where a training step would go on unclipped, or an error."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import nn

from gradclip_core import ClipNorm, Clipper, ClipValue, UClip, chain

RULES: dict[str, Callable[[], Clipper]] = {
    "norm": lambda: ClipNorm(0.1),
    "value": lambda: ClipValue(0.1),
    "rows": lambda: ClipNorm(0.1, by="row"),
    "chain": lambda: chain(ClipValue(0.1), ClipNorm(0.1)),
    "carry": lambda: UClip(ClipNorm(0.1)),
}


def with_gradients() -> nn.Linear:
    net = nn.Linear(4, 2)
    (net(torch.ones(3, 4)) * 100).sum().backward()
    return net


def used_up(parameters: Iterable[Any]) -> Any:
    list(parameters)
    return parameters


EMPTY: dict[str, Callable[[], Any]] = {
    "list": list,
    "tuple": tuple,
    "module": nn.ReLU,
    "generator": lambda: used_up(with_gradients().parameters()),
    "named": lambda: used_up(with_gradients().named_parameters()),
    "filter": lambda: used_up(filter(None, [])),
    "groups": lambda: [{"params": []}],
}


@pytest.mark.parametrize("empty", EMPTY)
@pytest.mark.parametrize("rule", RULES)
def test_no_parameters_are_told_of_once_a_call(rule: str, empty: str) -> None:
    clipper = RULES[rule]()
    parameters = EMPTY[empty]()
    with pytest.warns(UserWarning, match="^there are no parameters, so that no gradient") as told:
        report = clipper(parameters)
    assert len(told) == 1
    assert report.norm.item() == 0
    assert not report.clipped


def test_the_second_call_on_a_generator_is_told_of() -> None:
    net, clipper = with_gradients(), ClipNorm(0.1)
    parameters = (param for param in net.parameters())
    assert clipper(parameters).norm.item() > 100
    with pytest.warns(UserWarning, match="a generator is used up after one call"):
        clipper(parameters)


VALUES: dict[str, Callable[[nn.Linear], Any]] = {
    "gradients": lambda net: [param.grad for param in net.parameters()],
    "state": lambda net: net.state_dict().values(),
    "detached": lambda net: [param.detach() for param in net.parameters()],
    "named": lambda net: net.state_dict().items(),
    "one": lambda net: net.weight.grad,
    "mixed": lambda net: [net.weight, net.bias.grad],
    "group": lambda net: [{"params": [net.weight.grad]}],
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("rule", ["norm", "value", "rows", "chain"])
def test_values_and_gradients_in_the_place_of_parameters_are_refused(rule: str, kind: str) -> None:
    net = with_gradients()
    before = net.weight.grad.clone()
    with pytest.raises(TypeError, match="cannot get one, since it requires none: pass the param"):
        RULES[rule]()(VALUES[kind](net))
    assert torch.equal(net.weight.grad, before)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_results_are_refused_unless_they_keep_their_gradient() -> None:
    param = nn.Parameter(torch.ones(3))
    result = param * 2
    with pytest.raises(TypeError, match="cannot get one, since it is the result of an operation"):
        ClipNorm(0.1)([result])
    result.retain_grad()
    result.sum().backward()
    assert ClipNorm(0.1)([result]).clipped_norm.item() == pytest.approx(0.1, rel=1e-4)


def test_parameters_that_wait_for_their_gradient_are_passed_by() -> None:
    frozen = nn.Parameter(torch.ones(2), requires_grad=False)
    leaf = torch.ones(2, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = ClipNorm(0.1)([frozen, leaf, nn.Parameter(torch.ones(2))])
    assert report.norm.item() == 0


def test_a_leaf_without_requires_grad_may_hold_one_all_the_same() -> None:
    tensor = torch.ones(4)
    tensor.grad = torch.ones(4)
    ClipNorm(1.0)([tensor])
    assert tensor.grad.norm().item() == pytest.approx(1.0, rel=1e-4)
