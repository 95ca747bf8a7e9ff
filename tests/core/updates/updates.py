"""Rules on the update, optimizers and gradients for the tests of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    NAdam,
    Optimizer,
    RAdam,
    RMSprop,
)

from gradclip_core import Clipper, Clippy, ClipUpdate, Percentile, Spectra, StableUpdate

CLIPPERS: dict[str, Callable[..., Clipper]] = {
    "norm": lambda **kw: ClipUpdate(0.02, **kw),
    "autoclip": lambda **kw: ClipUpdate(Percentile(50.0), by="parameter", **kw),
    "adafactor": lambda **kw: ClipUpdate(2e-3, by="parameter", measure="rms", per_lr=True, **kw),
    "spectral": lambda **kw: ClipUpdate(
        2e-2, by="parameter", measure="spectral", response="clamp", **kw
    ),
    "spectra": lambda **kw: Spectra(0.3, **kw),
    "stable": lambda **kw: StableUpdate(**kw),
    "clippy": lambda **kw: Clippy(0.05, 0.001, **kw),
}
OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "sgd": lambda p: SGD(p, 0.05, momentum=0.9, weight_decay=0.1),
    "sgd fused": lambda p: SGD(p, 0.05, momentum=0.9, fused=True),
    "adam": lambda p: Adam(p, 0.05),
    "adamw foreach": lambda p: AdamW(p, 0.05, weight_decay=0.3, foreach=True),
    "adamw fused": lambda p: AdamW(p, 0.05, weight_decay=0.3, fused=True),
    "adamw capturable": lambda p: AdamW(p, torch.tensor(0.05), foreach=False),
    "nadam": lambda p: NAdam(p, 0.05),
    "radam": lambda p: RAdam(p, 0.05),
    "rmsprop": lambda p: RMSprop(p, 0.05, momentum=0.5),
    "adagrad": lambda p: Adagrad(p, 0.05),
    "adadelta": lambda p: Adadelta(p, 0.5),
}
MOMENTS = [name for name in OPTIMIZERS if not name.startswith(("sgd", "adagrad"))]


def make_net(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).to(dtype)


def gradients(net: nn.Module, step: int, scale: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(step)
    for param in net.parameters():
        grad = torch.randn(param.shape, generator=generator) * scale
        param.grad = grad.to(param.dtype)


def values(net: nn.Module) -> list[np.ndarray]:
    return [param.detach().double().numpy().copy() for param in net.parameters()]


def scales(step: int) -> float:
    """The size of the gradient of a step: a spike now and then."""
    return 300.0 if step % 17 == 16 else 1.0
