"""On a GPU: no step waits for the device, and fused or not, scaled or not, weights are the same."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from gradclip_core import ClipNorm, Clipper, ClipValue, Ema, Percentile, Relative, optimizers
from tests.core.test_no_host_reads import CLIPPERS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]

# Not `cudaDeviceSynchronize`, with which a trace itself ends.
WAITS = ("cudaStreamSynchronize", "cudaEventSynchronize", "Memcpy DtoH", "_local_scalar_dense")
SETTINGS: dict[str, dict[str, Any]] = {
    "AdamW": {"lr": 0.02},
    "Adam": {"lr": 0.02, "amsgrad": True},
    "SGD": {"lr": 0.02, "momentum": 0.9},
    "Adagrad": {"lr": 0.02},
}
PROMISED: dict[str, Callable[[], Clipper]] = {
    "norm": lambda: ClipNorm(1.0),
    "inf-norm": lambda: ClipNorm(1.0, norm_type=math.inf),
    "autoclip": lambda: ClipNorm(Percentile(10)),
    "ema": lambda: ClipNorm(Ema()),
    "soft": lambda: ClipNorm(1.0, response="soft"),
    "zero": lambda: ClipNorm(1.0, nonfinite="zero"),
    "parameter": lambda: ClipNorm(1.0, by="parameter", nonfinite="pass"),
    "agc": lambda: ClipNorm(Relative(0.01), by="row", nonfinite="pass"),
    "value": lambda: ClipValue(1.0, nonfinite="pass"),
    **CLIPPERS,
}


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4)).cuda()


def fill(net: nn.Module) -> None:
    for param in net.parameters():
        param.grad = torch.ones_like(param)


@pytest.mark.parametrize("kind", PROMISED)
def test_no_step_waits(kind: str) -> None:
    net = make_net()
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)
    clipper = PROMISED[kind]().attach(optimizer=optimizer)
    clipper.fold_into(optimizer)
    for _ in range(3):
        fill(net)
        clipper(net)
        optimizer.step()
    fill(net)
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as trace:
        torch.cuda.set_sync_debug_mode("error")
        try:
            clipper(net)
            optimizer.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    made = {event.name for event in trace.events()}
    assert not [name for name in made if any(wait in name for wait in WAITS)]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", SETTINGS)
def test_weights_are_those_of_unscale_clip_step(name: str, fused: bool) -> None:
    nets = [make_net() for _ in range(3)]
    base, settings = getattr(torch.optim, name), SETTINGS[name]
    theirs = base(nets[0].parameters(), foreach=True, **settings)
    ours = base(nets[1].parameters(), fused=fused, **settings)
    twin = getattr(optimizers, name)(
        nets[2].parameters(), fused=fused, clipper=ClipNorm(0.5), **settings
    )
    scalers = [torch.amp.GradScaler("cuda", init_scale=64.0) for _ in range(3)]
    clipper = ClipNorm(0.5)
    folds = clipper.fold_into(ours, scalers[1])
    assert folds is fused
    for step in range(8):
        x = torch.randn(4, 8, generator=torch.Generator().manual_seed(step)).cuda()
        for net, optimizer, scaler in zip(nets, (theirs, ours, twin), scalers, strict=True):
            optimizer.zero_grad()
            with torch.autocast("cuda", torch.float16):
                loss = net(x).float().square().mean() * (math.inf if step in (0, 3) else 5.0)
            scaler.scale(loss).backward()
            if optimizer is not twin and not (optimizer is ours and folds):
                scaler.unscale_(optimizer)
            if optimizer is theirs:
                nn.utils.clip_grad_norm_(net.parameters(), 0.5)
            if optimizer is ours:
                clipper(net)
            scaler.step(optimizer)
            scaler.update()
    expected = copy.deepcopy(nets[0].state_dict())
    for net in nets[1:]:
        torch.testing.assert_close(net.state_dict(), expected, rtol=1e-3, atol=1e-5)
    assert len({scaler.get_scale() for scaler in scalers}) == 1
