"""Fused or not, in each precision and each kind of loop: unscale, clip, step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

for package in ("lightning", "accelerate", "transformers"):
    pytest.importorskip(package, reason=f"{package} is not installed")

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.optim import SGD, Adagrad, Adam, AdamW, RMSprop  # noqa: E402

from gradclip_core import ClipNorm, Clipper, ClipUpdate, ClipValue  # noqa: E402
from tests.core.loops import (  # noqa: E402
    DTYPES,
    LOOPS,
    NAMES,
    STEPS,
    Kind,
    losses,
    make_net,
    scaler_of,
)
from tests.tolerances import of_mixed_training, of_training  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*'pin_memory' argument is set as true"),
]

LR = 0.05
OPTIMIZERS: dict[str, Kind] = {
    "adam": Kind(Adam, {"lr": LR}),
    "adamw": Kind(AdamW, {"lr": LR, "weight_decay": 0.0}),
    "momentum": Kind(SGD, {"lr": LR, "momentum": 0.9}),
    "adagrad": Kind(Adagrad, {"lr": LR}),
    "rmsprop": Kind(RMSprop, {"lr": LR}),
}
CLIPPERS: dict[str, Callable[[], Clipper]] = {
    "norm": lambda: ClipNorm(0.5),
    "value": lambda: ClipValue(0.1),
    "parameter": lambda: ClipNorm(0.3, by="parameter"),
    "update": lambda: ClipUpdate(0.05),
}


def variant(name: str, **setting: bool) -> Kind:
    kind = OPTIMIZERS[name]
    return Kind(kind.base, kind.settings | setting)


@pytest.fixture(autouse=True)
def _accelerate_starts_anew() -> Iterator[None]:
    """Accelerate keeps the precision of a process for good."""
    yield
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(True)


def reference(name: str, optimizer: str, precision: str) -> nn.Module:
    """Unscale, clip, step, with torch's own clipping where it has it."""
    net = make_net()
    made, scaler = variant(optimizer, foreach=True).plain(net.parameters()), scaler_of(precision)
    for loss in losses(net, precision):
        made.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(made)
        before = [param.detach().clone() for param in net.parameters()]
        clip_by_hand(name, net)
        scaler.step(made)
        scaler.update()
        if name == "update":
            shorten(net, before)
    return net


def clip_by_hand(name: str, net: nn.Module) -> None:
    if name == "norm":
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
    elif name == "value":
        nn.utils.clip_grad_value_(net.parameters(), 0.1)
    elif name == "parameter":
        for param in net.parameters():
            nn.utils.clip_grad_norm_(param, 0.3)


def shorten(net: nn.Module, before: list[Any]) -> None:
    moves = [p.detach() - b for p, b in zip(net.parameters(), before, strict=True)]
    norm = math.sqrt(sum(float(move.square().sum()) for move in moves))
    for param, old, move in zip(net.parameters(), before, moves, strict=True):
        param.data.copy_(old + min(1.0, 0.05 / max(norm, 1e-30)) * move)


def assert_as_close_as_rounding(ours: nn.Module, theirs: nn.Module, precision: str) -> None:
    """To clip moves some weight by .04 or more here, ten times what rounding to bf16 may."""
    narrow = DTYPES.get(precision)
    tolerance = of_mixed_training(STEPS, LR, narrow) if narrow else of_training(STEPS, LR)
    torch.testing.assert_close(dict(ours.state_dict()), dict(theirs.state_dict()), **tolerance)


def check(name: str, optimizer: str, precision: str, fused: bool, loop: str) -> None:
    net, start = make_net(), make_net()
    kind = variant(optimizer, fused=True) if fused else OPTIMIZERS[optimizer]
    paths = LOOPS[loop](net, kind, CLIPPERS[name](), precision, True)
    expected = reference(name, optimizer, precision)
    assert_as_close_as_rounding(net, expected, precision)
    assert not torch.allclose(net[0].weight, start[0].weight, atol=1e-2)
    done = "folded" if fused and name == "norm" else "in place"
    done = "update" if name == "update" else done
    assert done in paths
    assert set(paths) <= {"none", done}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("precision", NAMES)
@pytest.mark.parametrize(
    ("optimizer", "fused"),
    [
        ("adamw", False),
        ("adamw", True),
        ("momentum", True),
        pytest.param("momentum", False, marks=pytest.mark.slow),
        pytest.param("adam", False, marks=pytest.mark.slow),
        pytest.param("adam", True, marks=pytest.mark.slow),
        pytest.param("adagrad", False, marks=pytest.mark.slow),
        pytest.param("adagrad", True, marks=pytest.mark.slow),
        pytest.param("rmsprop", False, marks=pytest.mark.slow),
    ],
)
def test_weights_are_those_of_unscale_clip_step(
    optimizer: str, fused: bool, precision: str, loop: str
) -> None:
    check("norm", optimizer, precision, fused, loop)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("fused", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("name", "optimizer"), [("value", "momentum"), ("parameter", "adamw"), ("update", "adamw")]
)
def test_what_does_not_fold_is_unscaled_before(
    name: str, optimizer: str, fused: bool, loop: str
) -> None:
    check(name, optimizer, "fp16", fused, loop)


@pytest.mark.parametrize("loop", ["plain", "fabric", "automatic", "manual", "accelerate"])
def test_who_was_told_not_to_fold_clips_in_place(loop: str) -> None:
    net, kind = make_net(), variant("adamw", fused=True)
    assert set(LOOPS[loop](net, kind, ClipNorm(0.5), "fp16", False)) == {"none", "in place"}
    expected = reference("norm", "adamw", "fp16")
    assert_as_close_as_rounding(net, expected, "fp16")
