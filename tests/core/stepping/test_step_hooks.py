"""The hooks of a step: once for each step, whatever class calls which, and however it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from lightning.fabric import Fabric
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import nn
from torch.optim import SGD, Adam, Optimizer

from gradclip_core import ClipNorm, ClipUpdate, Median, Spam, chain, optimizers
from gradclip_core.optimizers import clipped
from gradclip_core.stepping.step_hooks import StepHooks, hooked


class Once(SGD):
    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        return super().step(closure)


class Twice(Once):
    def step(self, closure: Any = None) -> Any:
        super().step()
        return super().step()


class AdamOnce(Adam):
    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        return super().step(closure)


def holding(value: float = 1.0, shape: tuple[int, ...] = (3,)) -> nn.Parameter:
    param = nn.Parameter(torch.ones(shape))
    param.grad = torch.full(shape, value)
    return param


@pytest.fixture(autouse=True)
def _wrapped() -> None:
    """Have torch wrap the `step` of the bases, as it does at their first instance."""
    for base in (SGD, Adam, Once):
        base([holding()], 0.1)


@pytest.mark.parametrize("kind", [SGD, Once, Twice, AdamOnce, optimizers.SGD])
def test_a_step_is_told_once_and_one_after_the_other(kind: Any) -> None:
    calls: list[str] = []
    settings = {"clipper": ClipNorm(1.0)} if kind is optimizers.SGD else {}
    optimizer = kind([holding()], 0.1, **settings)
    hooks = StepHooks(
        optimizer, enter=lambda *_: calls.append("enter"), leave=lambda: calls.append("leave")
    )
    for _ in range(3):
        optimizer.step()
    assert calls == ["enter", "leave"] * 3
    hooks.remove()
    optimizer.step()
    assert len(calls) == 6


@pytest.mark.parametrize("kind", [SGD, Once, AdamOnce])
def test_a_step_that_broke_off_does_not_hide_the_next(kind: type[Optimizer]) -> None:
    calls: list[str] = []
    optimizer = kind([holding()], 0.1)  # type: ignore[call-arg]
    hooks = StepHooks(
        optimizer, enter=lambda *_: calls.append("enter"), leave=lambda: calls.append("leave")
    )

    def broken() -> float:
        assert hooks.inside
        raise KeyError("out of memory")

    with pytest.raises(KeyError):
        optimizer.step(broken)
    assert not hooks.inside
    optimizer.step()
    assert calls == ["enter", "enter", "leave"]


@pytest.mark.parametrize("fused", [False, True])
def test_the_step_after_one_that_broke_off_is_clipped(fused: bool) -> None:
    param = holding(4.0)
    optimizer = Once([param], lr=1.0, fused=fused)
    clipper = ClipNorm(0.5).attach(optimizer=optimizer)
    clipper.fold_into(optimizer)

    def broken() -> float:
        raise KeyError("out of memory")

    clipper([param])
    with pytest.raises(KeyError):
        optimizer.step(broken)
    param.grad = torch.full((3,), 4.0)
    before = param.detach().clone()
    clipper([param])
    optimizer.step()
    assert (param.detach() - before).norm().item() == pytest.approx(0.5, rel=1e-5)
    assert not hasattr(optimizer, "grad_scale") or optimizer.grad_scale is None


MADE: dict[str, Callable[[], Any]] = {
    "norm": lambda: ClipNorm(0.5),
    "update": lambda: ClipUpdate(0.05),
    "chain": lambda: chain(ClipNorm(10.0), ClipUpdate(0.05)),
    "history": lambda: ClipNorm(Median(0.5)),
}


# A fused kernel that a step runs twice divides twice by the scale, whosever that is.
@pytest.mark.parametrize(("kind", "fused"), [(Once, False), (Once, True), (Twice, False)])
@pytest.mark.parametrize("name", MADE)
def test_a_twin_of_a_re_entrant_class_counts_and_clips_once(
    name: str, kind: type[SGD], fused: bool
) -> None:
    param = holding(shape=(4, 4))
    optimizer = clipped(kind)([param], 0.1, fused=fused, clipper=MADE[name]())
    for step in range(5):
        param.grad = torch.randn(4, 4, generator=torch.Generator().manual_seed(step))
        before = param.detach().clone()
        optimizer.step()
        moved = (param.detach() - before).norm().item()
        assert moved == pytest.approx(
            0.05 if name in ("update", "chain") else _twice(kind) * 0.1 * _clipped_norm(optimizer),
            rel=1e-4,
        )
    assert optimizer.clipper.steps.item() == 5


def _twice(kind: type[SGD]) -> int:
    return 2 if kind is Twice else 1


def _clipped_norm(optimizer: Any) -> float:
    norm: float = optimizer.last_report.clipped_norm.item()
    return norm


def test_momentum_resets_count_steps_and_not_entries() -> None:
    param = holding()
    clipper = Spam(2.0, warmup_steps=0, reset_every=3, lr_warmup_steps=0).attach(
        optimizer=(optimizer := AdamOnce([param], 0.1))
    )
    for _ in range(7):
        param.grad = torch.ones(3)
        clipper([param])
        optimizer.step()
    assert clipper.reset.steps == 7


@pytest.mark.parametrize("kind", [SGD, Once])
def test_a_step_from_which_nothing_follows_is_none(kind: type[SGD]) -> None:
    param = holding(0.0)
    optimizer = clipped(kind)([param], 0.0, clipper=ClipUpdate(1.0))
    optimizer.step()
    assert optimizer.clipper.steps.item() == 0
    param.grad = torch.ones(3)  # as in a warm-up that begins at zero
    optimizer.step()
    assert optimizer.clipper.steps.item() == 1
    param.grad, optimizer.param_groups[0]["lr"] = torch.zeros(3), 0.1
    optimizer.step()
    assert optimizer.clipper.steps.item() == 2


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_warm_up_from_zero_takes_sparse_gradients(value: float) -> None:
    embedding = nn.Embedding(4, 2, sparse=True)
    optimizer = optimizers.SGD(embedding.parameters(), 0.0, clipper=ClipNorm(1.0))
    (embedding(torch.tensor([1, 1, 3])).sum() * value).backward()
    optimizer.step()
    assert optimizer.clipper.steps.item() == value


def test_a_step_on_meta_is_one_whatever_its_rate() -> None:
    param = nn.Parameter(torch.zeros(3, device="meta"))
    param.grad = torch.ones(3, device="meta")
    calls: list[str] = []
    optimizer = SGD([param], 0.0)
    hooks = StepHooks(optimizer, leave=lambda: calls.append("leave"))
    optimizer.step()
    assert calls == ["leave"]
    hooks.remove()


def test_wrappers_are_seen_through() -> None:
    net = nn.Linear(2, 1)
    inner = SGD(net.parameters(), 0.1)
    assert hooked(inner) is inner
    assert hooked(LightningOptimizer(inner)) is inner
    assert hooked(Accelerator(cpu=True).prepare(inner)) is inner
    assert hooked(Fabric(accelerator="cpu").setup_optimizers(inner)) is inner


class Unhooked(Optimizer):
    """A wrapper that makes no optimizer of itself."""

    def __init__(self, base: Any) -> None:
        self.base = base

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.base.step()


@pytest.mark.parametrize("bad", [None, 1, nn.Linear(1, 1), Unhooked(None)])
def test_what_has_no_hooks_is_refused_when_attached(bad: Any) -> None:
    with pytest.raises(TypeError, match=r"is no optimizer whose step\(\) calls hooks"):
        hooked(bad)
    if bad is not None:
        with pytest.raises(TypeError, match=r"^\w+ is no optimizer whose"):
            ClipNorm(1.0).attach(optimizer=bad)


# Dynamo says that it leaves the hooks to Python.
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_step_is_told_once() -> None:
    calls: list[str] = []
    optimizer = SGD([param := holding()], 0.1)
    StepHooks(
        optimizer, enter=lambda *_: calls.append("enter"), leave=lambda: calls.append("leave")
    )
    compiled = torch.compile(optimizer.step, backend="eager")
    for _ in range(2):
        compiled()
    assert calls == ["enter", "leave"] * 2
    torch.testing.assert_close(param.detach(), torch.full((3,), 0.8))
