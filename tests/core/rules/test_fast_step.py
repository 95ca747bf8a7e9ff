"""Which rules take the fast step: subclasses do, unless they override what it stands in for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradclip_core import (
    ClipNorm,
    ClipReport,
    ClipUpdate,
    ClipValue,
    NoClip,
    RandomClip,
    Relative,
    Rule,
    SkipOnSpike,
    Threshold,
)
from gradclip_core.parts.norms import Parts

Holding = Callable[..., list[nn.Parameter]]


class Named(ClipNorm):
    """A rule with nothing of its own but a name and an attribute."""

    owner = "me"

    def extra_repr(self) -> str:
        return self.owner


class Counting(ClipNorm):
    """Does something around the step, which stays what it is."""

    def forward(self, parameters: Any, *, loss: Tensor | None = None) -> ClipReport:
        self.calls = getattr(self, "calls", 0) + 1
        return super().forward(parameters, loss=loss)


class NamedValue(ClipValue):
    """The same by value."""


class Grandchild(Counting):
    """A subclass of a subclass."""


def halved(self: Any, parts: Parts, thresholds: Tensor) -> Tensor:
    for grad in parts.gradients.grads:
        grad.mul_(0.5)
    return parts.norms / 2


def tenth(self: Any, parts: Parts) -> Tensor:
    return torch.full_like(parts.norms, 0.1)


class Mixin:
    """Brings a response to whatever rule it is put before."""

    respond = halved


def is_fast(clipper: Rule, params: list[nn.Parameter]) -> bool:
    """Whether a call leaves a report whose tensors are still to be made."""
    return clipper(params)._step is not None


@pytest.mark.parametrize(
    "make", [ClipNorm, Named, Counting, Grandchild, ClipValue, NamedValue, type("X", (Named,), {})]
)
def test_a_subclass_keeps_the_fast_step(holding: Holding, make: Any) -> None:
    params = holding(torch.tensor([3.0, 4.0]))
    assert is_fast(make(1.0), params)
    expected = [1.0, 1.0] if issubclass(make, ClipValue) else [0.6, 0.8]
    assert params[0].grad.tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("by", ["model", "parameter", "row"])
def test_so_does_one_by_part_and_relative_to_the_weights(holding: Holding, by: Any) -> None:
    assert is_fast(Named(1.0, by=by), holding(torch.tensor([[3.0, 4.0]])))
    assert is_fast(Named(Relative(0.5), by=by), holding(torch.tensor([[3.0, 4.0]])))


@pytest.mark.parametrize("base", [ClipNorm, ClipValue])
def test_a_subclass_that_responds_otherwise_does_so(holding: Holding, base: Any) -> None:
    for bases, body in [((base,), {"respond": halved}), ((Mixin, base), {})]:
        params = holding(torch.tensor([3.0, 4.0]))
        kind = type("Halving", bases, body)
        assert not is_fast(kind(1.0), params)
        assert params[0].grad.tolist() == [1.5, 2.0]


@pytest.mark.parametrize("base", [ClipNorm, ClipValue])
def test_a_subclass_with_thresholds_of_its_own_has_them(holding: Holding, base: Any) -> None:
    params = holding(torch.tensor([3.0, 4.0]))
    clipper = type("Strict", (base,), {"limits": tenth})(100.0)
    assert not is_fast(clipper, params)
    assert clipper.last_report.threshold.item() == pytest.approx(0.1)
    assert params[0].grad.norm().item() < 0.2


@pytest.mark.parametrize("name", ["limits", "over", "drops", "respond", "_measure", "_guarded"])
def test_whatever_is_overridden_is_called(holding: Holding, name: str) -> None:
    called = []

    def spied(self: Any, *args: Any) -> Any:
        called.append(name)
        return getattr(ClipNorm, name)(self, *args)

    child = type("Child", (type("Spy", (ClipNorm,), {name: spied}),), {})
    child(1.0)(holding(torch.tensor([3.0, 4.0])))
    assert called


def test_a_subclass_that_writes_a_fast_step_again_has_it(holding: Holding) -> None:
    class Slow(ClipNorm):
        respond = halved

    class Fast(Slow):
        fast_step = ClipNorm.fast_step

    assert not is_fast(Slow(1.0), holding(torch.tensor([3.0, 4.0])))
    assert is_fast(Fast(1.0), holding(torch.tensor([3.0, 4.0])))


def test_a_threshold_that_overrides_its_forward_is_asked(holding: Holding) -> None:
    class Tenth(Relative):
        def forward(self, parts: Parts) -> Tensor:
            return torch.full_like(parts.norms, 0.1)

    params = holding(torch.tensor([3.0, 4.0]))
    thresholds: list[Threshold] = [Tenth()]
    assert not is_fast(ClipNorm(thresholds[0]), params)
    assert params[0].grad.norm().item() == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize(
    "make",
    [NoClip, lambda: RandomClip(1.0), lambda: ClipNorm(1.0, response="soft")],
)
def test_other_rules_take_the_full_step(holding: Holding, make: Callable[[], Rule]) -> None:
    assert not is_fast(make(), holding(torch.tensor([3.0, 4.0])))


def test_rules_that_cannot_fold_do_not_inherit_it() -> None:
    for kind in (SkipOnSpike, ClipUpdate, NoClip, ClipValue):
        assert not issubclass(kind, ClipNorm)
        assert not hasattr(kind, "_folding")


@pytest.mark.parametrize("clipper", [ClipNorm(1.0), ClipValue(0.1), ClipNorm(Relative(0.5))])
@pytest.mark.parametrize("frozen", [(0,), (2, 5), (1, 3, 5)])
def test_frozen_parameters_and_missing_gradients_take_it_too(
    monkeypatch: pytest.MonkeyPatch, clipper: Any, frozen: tuple[int, ...]
) -> None:
    params = [nn.Parameter(torch.ones(3, 2)) for _ in range(6)]
    for i, param in enumerate(params):
        param.requires_grad_(i not in frozen)
        param.grad = None if i in frozen else torch.full((3, 2), float(i + 1))
    alone = [copy.deepcopy(param) for i, param in enumerate(params) if i not in frozen]
    for param, other in zip(alone, (p for p in params if p.grad is not None), strict=True):
        param.grad = other.grad.clone()  # type: ignore[union-attr]
    wanted = copy.deepcopy(clipper)(alone)
    monkeypatch.setattr(Rule, "_full_step", None)  # would be called
    report = copy.deepcopy(clipper)(params)
    assert report.norm == wanted.norm
    assert report.clipped_norm == wanted.clipped_norm
    norms = iter(wanted.parameter_norms.tolist())
    each = [0.0 if i in frozen else next(norms) for i in range(6)]
    assert report.parameter_norms.tolist() == each
    assert [param.grad is None for param in params] == [i in frozen for i in range(6)]
    for param, other in zip((p for p in params if p.grad is not None), alone, strict=True):
        assert torch.equal(param.grad, other.grad)  # type: ignore[arg-type]
