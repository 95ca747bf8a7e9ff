"""What does a threshold that looks back cost, however long the history is?"""

from __future__ import annotations

import time
from bisect import insort

import numpy as np
import torch
from torch import nn

from gradclip_core import Ema, Percentile, Threshold, ZScore

LENGTHS = (100, 1_000, 10_000, 100_000, 1_000_000)
_SHAPES = [(512, 512)] * 4 + [(512,)] * 4
_CALLS = 300


def history_rows() -> list[tuple[str, list[float]]]:
    """Name, and the median time after each length of history as a share of torch's small clip."""
    clip = _clip_time()
    rows = [
        ("`Percentile(10)`, window 10,000", [_after(Percentile(10), n) for n in LENGTHS]),
        ("`Percentile(10)`, all norms", [_after(Percentile(10, window=n), n) for n in LENGTHS]),
        ("`Ema()`", [_after(Ema(), n) for n in LENGTHS]),
        ("`ZScore()`", [_after(ZScore(), n) for n in LENGTHS]),
        ("list and `np.percentile`, all norms", [_plain(n) for n in LENGTHS]),
    ]
    return [(name, [t / clip for t in times]) for name, times in rows]


def _clip_time() -> float:
    """Median time of `clip_grad_norm_` on the small LSTM's gradients."""
    params = [nn.Parameter(torch.zeros(shape)) for shape in _SHAPES]
    for param in params:
        param.grad = torch.randn_like(param)
    return _median(lambda _: nn.utils.clip_grad_norm_(params, 1e9), _CALLS)


def _after(threshold: Threshold, steps: int) -> float:
    """Median time of one more step after so many, of the threshold alone."""
    norms = np.random.default_rng(0).lognormal(size=steps + _CALLS)
    threshold.limit(1.0)
    if isinstance(threshold, Percentile):
        kept = min(steps, threshold.window)
        threshold.history[0, :kept] = torch.from_numpy(norms[:kept])
        threshold.count.fill_(steps)
        # Orders what was written, as after a checkpoint.
        threshold._apply(lambda buffer: buffer)
        threshold.limit(1.0)
    return _median(lambda i: threshold.limit(norms[steps + i]), _CALLS)


def _plain(steps: int) -> float:
    norms = np.random.default_rng(0).lognormal(size=steps + _CALLS).tolist()
    history = norms[:steps]

    def step(i: int) -> None:
        history.append(norms[steps + i])
        np.percentile(history, 10)

    return _median(step, min(_CALLS, max(3, 3_000_000 // steps)))


def _median(call: object, calls: int) -> float:
    times: list[float] = []
    for i in range(calls):
        start = time.process_time_ns()
        call(i)  # type: ignore[operator]
        insort(times, (time.process_time_ns() - start) * 1e-9)
    return times[len(times) // 2]
