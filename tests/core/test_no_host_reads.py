"""Composed clippers read nothing back from the device: on `meta` tensors a read is an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from gradclip_core import (
    ByName,
    ClipBackward,
    ClipNorm,
    Clipper,
    ClipPerSample,
    ClipValue,
    Ema,
    NoiseAware,
    Percentile,
    RandomClip,
    UClip,
    ZScore,
    chain,
)

CLIPPERS: dict[str, Callable[[], Clipper]] = {
    "chain": lambda: chain(norm(), norm(by="parameter")),
    "chain of measures": lambda: chain(ClipValue(1.0, nonfinite="pass"), norm()),
    "by name": lambda: ByName({"0": norm()}, otherwise=ClipValue(1.0, nonfinite="pass")),
    "u clip": lambda: UClip(norm()),
    "random": lambda: RandomClip(1.0, by="parameter", nonfinite="pass"),
    "noise": lambda: ClipNorm(NoiseAware(), by="parameter", nonfinite="pass"),
    "noise of the whole": lambda: ClipNorm(NoiseAware(), nonfinite="pass"),
}


def norm(by: str = "model") -> Clipper:
    return ClipNorm(1.0, by=by, nonfinite="pass")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", CLIPPERS)
def test_nothing_is_read(kind: str) -> None:
    net = nn.Sequential(nn.Linear(3, 4, device="meta"), nn.Linear(4, 2, device="meta"))
    clipper = CLIPPERS[kind]()
    for _ in range(3):
        for param in net.parameters():
            param.grad = torch.ones_like(param)
        report = clipper(net)
    metrics = report.metrics()
    assert {value.device.type for value in metrics.values()} == {"meta"}


def on_meta() -> nn.Module:
    net = nn.Linear(2, 2, device="meta")
    for param in net.parameters():
        param.grad = torch.ones_like(param)
    return net


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("threshold", [1.0, Percentile(10), Ema(), ZScore()])
def test_a_skip_in_the_step_of_the_optimizer_reads_nothing(threshold: Any, scaled: bool) -> None:
    net = on_meta()
    optimizer, scaler = torch.optim.SGD(net.parameters(), 0.1), torch.amp.GradScaler("cpu")
    optimizer.param_groups[0]["fused"] = True  # torch has no fused kernel for meta
    clipper = ClipNorm(threshold)
    assert clipper.fold_into(optimizer, scaler if scaled else None)
    scaler.scale(torch.ones((), device="meta"))
    for _ in range(3):
        report = clipper(net)
    assert report.path == "folded"
    assert report.skipped.device.type == "meta"
    optimizer.param_groups[0]["fused"] = False
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        clipper(net)


def test_a_policy_that_has_to_know_reads() -> None:
    net = nn.Linear(2, 2, device="meta")
    net.weight.grad = torch.ones_like(net.weight)
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        chain(ClipNorm(1.0))(net)


@pytest.mark.parametrize("bound", ["max_value", "max_norm"])
def test_nothing_is_read_in_the_backward_pass(bound: str) -> None:
    net = nn.Linear(2, 2, device="meta")
    layer = nn.RNN(2, 2, device="meta")
    clipper = ClipBackward(**{bound: 1.0}, nonfinite="pass").attach(model=layer)
    layer(net(torch.ones(3, 2, device="meta")))[0].sum().backward()
    assert clipper(layer).clipped.device.type == "meta"


def test_nothing_is_read_of_samples() -> None:
    net = nn.Linear(2, 2, device="meta")
    clipper = ClipPerSample(1.0, nonfinite="pass").attach(model=net)
    clipper.backward(lambda x: net(x).square().mean(), torch.ones(3, 2, device="meta"))
    assert clipper(net).norm.device.type == "meta"
