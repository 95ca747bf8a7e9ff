"""What does a threshold that looks back cost, however long the history is?"""

from __future__ import annotations

import time
from bisect import insort
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from gradclip_core import Ema, Percentile, Scheduled, Threshold, TrailingNorm, WindowZScore, ZScore
from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.host_step import HostParts

LENGTHS = (100, 1_000, 10_000, 100_000, 1_000_000)
_SHAPES = [(512, 512)] * 4 + [(512,)] * 4
_CALLS = 300


def history_rows() -> list[tuple[str, list[float]]]:
    """Name, and the median time after each length of history as a share of torch's small clip."""
    clip = _clip_time()
    thresholds: dict[str, Threshold] = {
        "`Percentile(10)`, window 10,000": Percentile(10),
        "`Percentile(10)`, all norms": Percentile(10, window=2 * LENGTHS[-1]),
        "`Ema()`": Ema(),
        "`ZScore()`": ZScore(),
        "`WindowZScore()`": WindowZScore(),
        "`TrailingNorm()`": TrailingNorm(),
        "`Scheduled(1.0, 1000)`": Scheduled(1.0, 1000),
    }
    rows = [(name, _after_each(threshold)) for name, threshold in thresholds.items()]
    rows.append(("list and `np.percentile`, all norms", [_plain(n) for n in LENGTHS]))
    return [(name, [t / clip for t in times]) for name, times in rows]


def _clip_time() -> float:
    """Median time of `clip_grad_norm_` on the small LSTM's gradients."""
    params = [nn.Parameter(torch.zeros(shape)) for shape in _SHAPES]
    for param in params:
        param.grad = torch.randn_like(param)
    return _median(lambda _: nn.utils.clip_grad_norm_(params, 1e9), _CALLS)


def _after_each(threshold: Threshold) -> list[float]:
    """Median time of one more step, of the threshold alone, after each number of steps."""
    norms = np.random.default_rng(0).lognormal(size=LENGTHS[-1] + _CALLS).tolist()
    times, steps = [], 0
    for length in LENGTHS:
        for norm in norms[steps:length]:
            threshold.host_thresholds(_measured(norm))
        steps = length
        rest = list(map(_measured, norms[steps : steps + _CALLS]))
        times.append(_median(lambda i, rest=rest: threshold.host_thresholds(rest[i]), _CALLS))
    return times


def _measured(norm: float) -> HostParts:
    """One part of this norm, as a threshold sees it."""
    parts = HostParts(Gradients(), 2.0)
    parts.norms = norm
    return parts


def _plain(steps: int) -> float:
    norms = np.random.default_rng(0).lognormal(size=steps + _CALLS).tolist()
    history = norms[:steps]

    def step(i: int) -> None:
        history.append(norms[steps + i])
        np.percentile(history, 10)

    return _median(step, min(_CALLS, max(3, 3_000_000 // steps)))


def _median(call: Callable[[int], object], calls: int) -> float:
    """Median time of a call, taken over ten at a time where they are many."""
    times: list[float] = []
    together = 10 if calls >= 100 else 1
    for first in range(0, calls, together):
        start = time.process_time_ns()
        for i in range(first, first + together):
            call(i)
        insort(times, (time.process_time_ns() - start) * 1e-9 / together)
    return times[len(times) // 2]
