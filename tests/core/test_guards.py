"""Non-finite gradients: each policy does to the optimizer exactly what it says."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

from gradclip_core import (
    ClipNorm,
    Clipper,
    ClipValue,
    Guard,
    NoClip,
    NonFiniteGradientError,
    Percentile,
)

Holding = Callable[..., list[nn.Parameter]]
BAD = [math.nan, math.inf, -math.inf]
CLIPPERS: dict[str, Callable[..., Clipper]] = {
    "norm": lambda **kw: ClipNorm(1.0, **kw),
    "value": lambda **kw: ClipValue(0.1, **kw),
    "none": NoClip,
    "autoclip": lambda **kw: ClipNorm(Percentile(50.0), by="parameter", **kw),
}
OPTIMIZERS: dict[str, Callable[[nn.Module], Optimizer]] = {
    "sgd momentum": lambda m: SGD(m.parameters(), 0.1, momentum=0.9, weight_decay=0.1),
    "sgd fused": lambda m: SGD(m.parameters(), 0.1, momentum=0.9, fused=True),
    "adam": lambda m: Adam(m.parameters(), 0.1),
    "adam fused": lambda m: Adam(m.parameters(), 0.1, fused=True),
    "adamw": lambda m: AdamW(m.parameters(), 0.1, weight_decay=0.1),
    "adamw fused": lambda m: AdamW(m.parameters(), 0.1, weight_decay=0.1, fused=True),
    "rmsprop": lambda m: RMSprop(m.parameters(), 0.1, momentum=0.9, weight_decay=0.1),
    "adagrad": lambda m: Adagrad(m.parameters(), 0.1, weight_decay=0.1),
    "adagrad fused": lambda m: Adagrad(m.parameters(), 0.1, fused=True),
}


def train(
    net: nn.Module, optimizer: Optimizer, clipper: Clipper, inputs: list[torch.Tensor]
) -> None:
    for x in inputs:
        optimizer.zero_grad()
        net(x).pow(2).sum().backward()
        clipper(net)
        optimizer.step()


def everything(net: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    return copy.deepcopy({"net": net.state_dict(), "optimizer": optimizer.state_dict()})


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("good_before", [0, 3])
def test_skip_trains_on_as_if_the_step_had_never_been(
    name: str, bad: float, good_before: int
) -> None:
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    twin = copy.deepcopy(net)
    optimizer, twin_optimizer = OPTIMIZERS[name](net), OPTIMIZERS[name](twin)
    clipper, twin_clipper = CLIPPERS["autoclip"](), CLIPPERS["autoclip"]()
    before, after = [*torch.randn(good_before, 4, 3)], [*torch.randn(3, 4, 3)]

    train(net, optimizer, clipper, before)
    kept = everything(net, optimizer)
    train(net, optimizer, clipper, [torch.full((1, 3), bad)])
    torch.testing.assert_close(everything(net, optimizer), kept, rtol=0, atol=0)

    train(net, optimizer, clipper, after)
    train(twin, twin_optimizer, twin_clipper, before + after)
    torch.testing.assert_close(
        everything(net, optimizer), everything(twin, twin_optimizer), rtol=0, atol=0
    )
    assert not torch.equal(net.weight, kept["net"]["weight"])


@pytest.mark.parametrize("kind", CLIPPERS)
def test_skip_is_the_default_of_clippers_and_drops_every_gradient(
    holding: Holding, kind: str
) -> None:
    params = holding(torch.ones(3), torch.tensor([math.nan]))
    clipper = CLIPPERS[kind]() if kind != "none" else NoClip(nonfinite="skip")
    report = clipper(params)
    assert [param.grad for param in params] == [None, None]
    assert report.skipped.item() is True


@pytest.mark.parametrize("kind", CLIPPERS)
def test_raise_names_the_tensors_and_leaves_the_gradients(kind: str) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    net(torch.ones(1, 2)).sum().backward()
    net[1].weight.grad[0] = torch.tensor([math.nan, math.inf])
    kept = [param.grad.clone() for param in net.parameters()]
    with pytest.raises(NonFiniteGradientError) as caught:
        CLIPPERS[kind](nonfinite="raise")(net)
    assert str(caught.value) == "non-finite gradient in 1.weight (1 NaN, 1 inf)"
    for param, grad in zip(net.parameters(), kept, strict=True):
        torch.testing.assert_close(param.grad, grad, rtol=0, atol=0, equal_nan=True)


def test_raise_names_five_and_counts_the_rest(holding: Holding) -> None:
    with pytest.raises(NonFiniteGradientError, match=r"parameter 4 of shape .* and 2 more$") as e:
        ClipNorm(1.0, nonfinite="raise")(holding(*[torch.tensor([math.nan])] * 7))
    assert "parameter 5" not in str(e.value)


def test_zero_clears_the_bad_elements_and_clips_the_rest(holding: Holding) -> None:
    params = holding(torch.tensor([math.nan, 3.0, math.inf]), torch.tensor([-math.inf, 4.0]))
    report = ClipNorm(2.5, eps=0, nonfinite="zero")(params)
    assert params[0].grad.tolist() == [0.0, 1.5, 0.0]
    assert params[1].grad.tolist() == [0.0, 2.0]
    assert (report.norm.item(), report.skipped.item()) == (5.0, False)


def test_zero_clears_complex_and_sparse_gradients(holding: Holding) -> None:
    (param,) = holding(torch.tensor([complex(math.nan, 1.0), 3 + 4j]))
    embedding = nn.Embedding(3, 1, sparse=True)
    (embedding(torch.tensor([0, 2])) * torch.tensor([[math.inf], [2.0]])).sum().backward()
    ClipNorm(100.0, nonfinite="zero")([param, embedding.weight])
    assert param.grad.isfinite().all()
    assert param.grad[1].item() == 3 + 4j
    assert embedding.weight.grad.to_dense().flatten().tolist() == [0.0, 0.0, 2.0]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pass_equals_torch(holding: Holding, bad: float, dtype: torch.dtype) -> None:
    grads = torch.tensor([1.0, bad], dtype=dtype), torch.tensor([2.0], dtype=dtype)
    ours, theirs = holding(*grads), holding(*grads)
    ClipNorm(0.5, nonfinite="pass")(ours)
    nn.utils.clip_grad_norm_(theirs, 0.5)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_pass_by_value_equals_torch(holding: Holding, dtype: torch.dtype) -> None:
    grad = torch.tensor([math.nan, math.inf, -math.inf, 3.0, 0.25], dtype=dtype)
    (ours,), (theirs,) = holding(grad), holding(grad)
    ClipValue(0.5, nonfinite="pass")(ours)
    nn.utils.clip_grad_value_(theirs, 0.5)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=0, equal_nan=True)


def test_no_clip_passes_by_default(holding: Holding) -> None:
    (param,) = holding(torch.tensor([math.nan, 2.0]))
    report = NoClip()(param)
    assert param.grad.isnan().tolist() == [True, False]
    assert (report.skipped.item(), report.clipped.item()) == (False, False)


@pytest.mark.parametrize("policy", ["skip", "zero", "pass"])
def test_patience_gives_up_after_so_many_in_a_row(holding: Holding, policy: Any) -> None:
    clipper = ClipNorm(1.0, nonfinite=policy, patience=3)
    good, bad = torch.ones(1), torch.tensor([math.nan])
    for grad in (bad, bad, good, bad, bad):
        clipper(holding(grad))
    with pytest.raises(NonFiniteGradientError, match="gave up after 3 non-finite gradients"):
        clipper(holding(bad))


def test_patience_is_counted_on_in_a_loaded_clipper(holding: Holding) -> None:
    first, second = ClipNorm(1.0, patience=2), ClipNorm(1.0, patience=2)
    first(holding(torch.tensor([math.inf])))
    second.load_state_dict(first.state_dict())
    with pytest.raises(NonFiniteGradientError):
        second(holding(torch.tensor([math.inf])))


def test_without_patience_any_number_is_borne(holding: Holding) -> None:
    clipper = ClipNorm(1.0)
    reports = [clipper(holding(torch.tensor([math.nan]))) for _ in range(50)]
    assert all(report.skipped.item() for report in reports)
    assert clipper.guard.consecutive.item() == 50


@pytest.mark.parametrize("policy", ["skip", "pass", "raise"])
@pytest.mark.parametrize("bad", BAD)
def test_statistics_never_take_a_non_finite_norm(holding: Holding, policy: Any, bad: float) -> None:
    clipper = ClipNorm(Percentile(50.0, window=3), nonfinite=policy)
    for norm in (1.0, 2.0, 4.0, 8.0):
        clipper(holding(torch.tensor([norm])))
    history, count = clipper.threshold.history.clone(), clipper.threshold.count.clone()
    try:
        clipper(holding(torch.tensor([bad])))
    except NonFiniteGradientError:
        assert policy == "raise"
    assert torch.equal(clipper.threshold.history, history)
    assert torch.equal(clipper.threshold.count, count)
    assert clipper(holding(torch.tensor([4.0]))).threshold.item() == 4.0


def test_the_policy_is_printed() -> None:
    assert repr(Guard("zero", 4)) == "Guard(policy='zero', patience=4)"
