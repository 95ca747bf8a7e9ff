"""Clipping and stepping on the same gradients: ours folded into a fused optimizer, and torch's."""

from __future__ import annotations

import importlib
import importlib.util
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from benchmarks.clip_speed import SETS, make_params
from benchmarks.contenders import Params
from gradclip_core import ClipNorm, Spam

BASE = "clip_grad_norm_, fused step"
Step = Callable[[], object]
OPTIMIZERS: dict[str, tuple[Callable[..., Optimizer], dict[str, Any]]] = {
    "AdamW": (AdamW, {"lr": 1e-6}),
    "SGD, momentum": (SGD, {"lr": 1e-6, "momentum": 0.9}),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One contender's ratios to the base call: quartiles and median."""

    where: str
    contender: str
    binding: bool
    low: float
    median: float
    high: float


def clock(device: str) -> float:
    """The process's CPU time; with a GPU the time, once that is done with its work. In seconds."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def optimizer_rows(device: str, rounds: float) -> Iterator[Row]:
    """The ratios for every set of tensors but the largest, every optimizer and both states."""
    for name, (shapes, number) in SETS.items():
        if sum(map(np.prod, shapes)) > 30_000_000:
            continue
        params, originals = _on(device, *make_params(shapes))
        for optimizer in OPTIMIZERS:
            for binding in (False, True):
                steps = contenders(params, optimizer, 1e-3 if binding else 1e9)
                times = interleave(steps, params, originals, max(5, round(number * rounds)))
                base = times.pop(BASE)
                for contender, each in times.items():
                    points = np.quantile(each / base, (0.25, 0.5, 0.75)).tolist()
                    yield Row(f"{name} | {optimizer}", contender, binding, *points)


def contenders(params: Params, name: str, bound: float) -> dict[str, Step]:
    """Ways to clip to a norm and step, each with an optimizer of its own."""
    kind, settings = OPTIMIZERS[name]
    made = [kind(params, fused=True, **settings) for _ in range(4)]
    default = kind(params, **settings)
    folding, in_place = ClipNorm(bound), ClipNorm(bound)
    assert folding.fold_into(made[0])

    def torchs(optimizer: Optimizer) -> None:
        nn.utils.clip_grad_norm_(params, bound)
        optimizer.step()

    steps: dict[str, Step] = {
        BASE: lambda: torchs(made[1]),
        "ours, `fold_into`": lambda: (folding(params), made[0].step()),
        "ours, in place": lambda: (in_place(params), made[2].step()),
        "no clipping, fused step": made[3].step,
        "clip_grad_norm_, default step": lambda: torchs(default),
    }
    return steps | (_by_moments(params, settings) if kind is AdamW else {})


def _by_moments(params: Params, settings: dict[str, Any]) -> dict[str, Step]:
    """Elements cut at deviations of Adam's second moment: ours, and AdamWClip's if installed."""
    optimizer = AdamW(params, fused=True, **settings)
    clipper = Spam(9.0, warmup_steps=0, reset_every=None, unbiased=True)
    clipper.attach(optimizer=optimizer)
    steps: dict[str, Step] = {"ours, `adamw_clip`": lambda: (clipper(params), optimizer.step())}
    if importlib.util.find_spec("AdamWClip") is not None:
        peer = importlib.import_module("AdamWClip").AdamWClip(params, **settings)
        steps["AdamWClip"] = peer.step
    return steps


def interleave(
    steps: dict[str, Step], params: Params, originals: list[torch.Tensor], rounds: int
) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Seconds of every contender in every round, in random order, on restored gradients."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    device = params[0].device.type
    for _ in range(rounds + 2):
        for name, step in random.sample(list(steps.items()), len(steps)):
            # The last first, as a backward pass leaves them.
            torch._foreach_copy_([param.grad for param in params][::-1], originals[::-1])
            start = clock(device)
            step()
            times[name].append(clock(device) - start)
    return {name: np.asarray(each[2:]) for name, each in times.items()}


def _on(device: str, params: Params, originals: list[torch.Tensor]) -> tuple[Params, Any]:
    moved = [nn.Parameter(param.detach().to(device)) for param in params]
    copies = [original.to(device) for original in originals]
    for param, copy in zip(moved, copies, strict=True):
        param.grad = copy.clone()
    return moved, copies
