"""Scheduled: the factor of each step, over a number or a statistic."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from gradclip_core import Ema, Fixed, Scheduled
from gradclip_core.thresholds.scheduled import Shape
from tests.core.thresholds.sequences import messy, thresholds_of

SCHEDULES: list[dict[str, Any]] = [
    {},
    {"warmup_steps": 40, "start": 10.0},
    {"decay_steps": 100, "end": 0.1},
    {"warmup_steps": 1, "start": 0.5, "decay_steps": 1, "end": 3.0},
    {"warmup_steps": 60, "start": 0.01, "decay_steps": 150, "end": 5.0},
]


def factor(
    t: int, shape: str, warmup_steps: int, start: float, decay_steps: int, end: float
) -> float:
    if t < warmup_steps:
        return start + (1 - start) * t / warmup_steps
    if t >= warmup_steps + decay_steps:
        return end if decay_steps else 1.0
    p = (t - warmup_steps) / decay_steps
    return 1 + (end - 1) * (p if shape == "linear" else (1 - math.cos(math.pi * p)) / 2)


@pytest.mark.parametrize("shape", ["cosine", "linear"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_factor_of_each_step(shape: Shape, schedule: dict[str, Any]) -> None:
    whole = {"warmup_steps": 0, "start": 1.0, "decay_steps": 0, "end": 1.0} | schedule
    factors = np.array([[factor(t, shape, **whole)] for t in range(320)])
    series = messy(1, parts=2)
    fixed = thresholds_of(Scheduled(3.0, shape=shape, **schedule), series)
    np.testing.assert_allclose(fixed, 3.0 * factors * np.ones((1, 2)), rtol=1e-12)
    learnt = thresholds_of(Scheduled(Ema(), shape=shape, **schedule), series)
    np.testing.assert_allclose(learnt, thresholds_of(Ema(), series) * factors, rtol=1e-12)


def test_a_number_becomes_a_fixed_threshold() -> None:
    assert isinstance(Scheduled(2).threshold, Fixed)
