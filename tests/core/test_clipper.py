"""What a call of any clipper is: outside graphs, hooks on all modules and inference mode."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch._dynamo
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from gradclip_core import (
    ClipNorm,
    Clipper,
    ClipValue,
    Ema,
    Median,
    NoClip,
    UClip,
    chain,
    optimizers,
)
from gradclip_core.parts.norms import NormType

RULES: dict[str, Callable[[], Clipper]] = {
    "norm": lambda: ClipNorm(1.0),
    "history": lambda: ClipNorm(Median(1.0), by="parameter"),
    "average": lambda: ClipNorm(Ema(1.0)),
    "value": lambda: ClipValue(0.5),
    "chain": lambda: chain(ClipValue(0.5), ClipNorm(1.0)),
    "carry": lambda: UClip(ClipNorm(1.0)),
}


def with_gradients(scale: float = 1.0) -> nn.Linear:
    net = nn.Linear(4, 3)
    for param in net.parameters():
        param.grad = torch.full_like(param, scale)
    return net


@pytest.mark.parametrize("rule", RULES)
def test_a_call_breaks_a_graph_once(rule: str) -> None:
    clipper, twin = RULES[rule](), RULES[rule]()
    net, other = with_gradients(), with_gradients()

    def step(x: Tensor) -> Tensor:
        y = x * 2
        clipper(net)
        return y + 1

    torch._dynamo.reset()
    found = torch._dynamo.explain(step)(torch.ones(2))
    assert (found.graph_count, found.graph_break_count) == (2, 1)
    twin(other)
    torch.testing.assert_close(net.weight.grad, other.weight.grad, rtol=0, atol=0)


@pytest.mark.parametrize("rule", RULES)
def test_hooks_on_all_modules_do_not_see_it_but_its_own_do(rule: str) -> None:
    seen: list[Any] = []
    clipper = RULES[rule]()
    handle = register_module_forward_hook(lambda module, *_: seen.append(module))
    try:
        clipper(with_gradients())
    finally:
        handle.remove()
    assert not [module for module in seen if isinstance(module, Clipper)]
    clipper.register_forward_hook(lambda module, *_: seen.append(module))
    report = clipper(with_gradients())
    assert seen[-1] is clipper
    assert clipper.last_report is report


@pytest.mark.parametrize("rule", RULES)
def test_a_call_in_inference_mode_leaves_a_state_that_goes_on(rule: str) -> None:
    clipper, twin = RULES[rule](), RULES[rule]()
    for mode, one in ((True, clipper), (False, twin)):
        for scale in (1.0, 5.0, 0.1):
            net = with_gradients(scale)
            with torch.inference_mode(mode and scale != 5.0):
                one(net)
    torch.testing.assert_close(clipper.state_dict(), twin.state_dict(), rtol=0, atol=0)
    copy.deepcopy(clipper).load_state_dict(clipper.state_dict())


def test_a_clipper_among_the_weights_says_so_when_they_are_saved() -> None:
    model = nn.Linear(2, 1)
    model.clipper = chain(ClipNorm(Ema()), ClipNorm(1.0))
    with pytest.warns(UserWarning, match="Chain is an attribute of a model") as caught:
        state = model.state_dict()
    assert len(caught) == 1
    assert "clipper.steps" in state
    model.load_state_dict(state)


def test_a_clipper_beside_the_model_says_nothing() -> None:
    several = nn.ModuleDict({"g": ClipNorm(Ema()), "d": chain(ClipNorm(1.0), ClipValue(1.0))})
    several.load_state_dict(several.state_dict())
    clipper = chain(ClipNorm(Ema()), ClipNorm(1.0))
    state = clipper.state_dict()
    assert next(iter(clipper.state_dict(prefix="a."))).startswith("a.")
    optimizer = optimizers.SGD([nn.Parameter(torch.ones(1))], clipper=clipper, lr=0.1)
    optimizer.load_state_dict(optimizer.state_dict())
    clipper.load_state_dict(state)


@pytest.mark.parametrize("order", [1.0, 3, math.inf, "inf"])
def test_orders_of_norms_are_typed_as_they_are_taken(order: NormType) -> None:
    assert chain(ClipNorm(1.0, norm_type=order), norm_type=order).norm_type == float(order)
    assert NoClip(norm_type=order).norm_type == float(order)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("rule", RULES)
def test_a_model_in_another_precision_leaves_the_state_as_it_is(
    rule: str, dtype: torch.dtype
) -> None:
    clipper, net = RULES[rule](), with_gradients(1e6)
    clipper(net)
    same = copy.deepcopy(clipper)
    nn.ModuleList([clipper]).to(dtype)
    for scale in (1e6, 1.0):
        reports = [each(with_gradients(scale)) for each in (clipper, same)]
        assert reports[0].clipped_norm == reports[1].clipped_norm
    for name, kept in same.state_dict().items():
        assert torch.equal(clipper.state_dict()[name], kept), name


@pytest.mark.parametrize("rule", RULES)
def test_arguments_in_a_wrong_place_are_told_their_own(rule: str) -> None:
    net, clipper = with_gradients(), RULES[rule]()
    with pytest.raises(TypeError, match=r"clipper\(model\), got 2 arguments: the threshold goes"):
        clipper(net, 1.0)
    with pytest.raises(TypeError, match=r"^model must be a torch\.nn\.Module, got SGD$"):
        clipper.attach(model=torch.optim.SGD(net.parameters()))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^Linear is no optimizer .* whose optimizer is meant$"):
        clipper.attach(optimizer=net)  # type: ignore[arg-type]


def test_folding_takes_an_optimizer_and_a_scaler() -> None:
    net = with_gradients()
    optimizer: Any = torch.optim.SGD(net.parameters(), fused=True)
    with pytest.raises(TypeError, match=r"^Linear is no optimizer"):
        ClipNorm(1.0).fold_into(net)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^scaler must be a GradScaler or None, got SGD$"):
        ClipNorm(1.0).fold_into(optimizer, optimizer)


def test_a_clipper_of_ones_own_may_take_more() -> None:
    class Twice(ClipNorm):
        def forward(self, parameters: Any, times: int = 1, *, loss: Tensor | None = None) -> Any:
            return [super(Twice, self).forward(parameters, loss=loss) for _ in range(times)]

    assert len(Twice(1.0)(with_gradients(), 2)) == 2
    with pytest.raises(TypeError, match=r"^Twice is called with .* got 3 arguments"):
        Twice(1.0)(with_gradients(), 2, 3)
