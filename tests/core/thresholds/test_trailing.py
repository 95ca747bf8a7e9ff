"""TrailingNorm (AdaGC) and QuantileTracker: as published, without AdaGC's freeze."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from gradclip_core import ClipNorm, QuantileTracker, TrailingNorm
from tests.core.thresholds.sequences import heavy_tailed, messy, thresholds_of

Holding = Callable[..., list[nn.Parameter]]


def adagc(
    series: np.ndarray, relative: float, decay: float, warmup: int, absolute: float, floor: float
) -> np.ndarray:
    """The norms after clipping; NaN where a norm is unusable."""
    parts = series.shape[1]
    gamma = [math.inf] * parts
    kept: list[list[float]] = [[] for _ in range(parts)]
    rows = np.full(series.shape, math.nan)
    for t, row in enumerate(series):
        usable = [i for i in range(parts) if math.isfinite(row[i]) and row[i] > 0]
        whole = math.sqrt(sum(row[i] ** 2 for i in usable))
        for i in usable:
            if len(kept[i]) < warmup:
                rows[t, i] = min(absolute / whole, 1.0) * row[i]
                kept[i].append(rows[t, i])
                gamma[i] = min(gamma[i], rows[t, i])
                if len(kept[i]) == warmup:
                    gamma[i] = max(gamma[i], floor * float(np.mean(kept[i])))
            else:
                rows[t, i] = min(relative * gamma[i] / row[i], 1.0) * row[i]
                gamma[i] = decay * gamma[i] + (1 - decay) * rows[t, i]
    return rows


def clipped(threshold: TrailingNorm, series: np.ndarray) -> np.ndarray:
    rows = np.minimum(series, thresholds_of(threshold, series))
    rows[~(np.isfinite(series) & (series > 0))] = math.nan
    return rows


SETTINGS = [
    (1.05, 0.98, 100, 1.0, 0.1),
    (1.05, 0.98, 100, 1.0, 0.0),
    (2.0, 0.5, 1, math.inf, 0.0),
    (1.2, 0.9, 30, 5.0, 0.5),
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("seed", range(2))
def test_norms_after_clipping_are_those_of_adagc(
    seed: int, settings: tuple[float, float, int, float, float]
) -> None:
    series = messy(seed, parts=3)
    rows = clipped(TrailingNorm(*settings), series)
    np.testing.assert_allclose(rows, adagc(series, *settings), rtol=1e-9)


def test_adagc_clips_gradients(holding: Holding) -> None:
    clipper = ClipNorm(TrailingNorm(warmup_steps=3), by="parameter", eps=0)
    series = heavy_tailed(7, steps=12, parts=2)
    for row, wanted in zip(series, adagc(series, 1.05, 0.98, 3, 1.0, 0.1), strict=True):
        params = holding(*[torch.full((4,), norm / 2, dtype=torch.float64) for norm in row])
        clipper(params)
        norms = [param.grad.norm().item() for param in params if param.grad is not None]
        assert norms == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("small", [0.0, 1e-30])
def test_a_vanishing_gradient_in_the_warm_up_does_not_freeze(small: float) -> None:
    # pytorch_optimizer 4.1.0: gamma = 0 from then on, and the norms go 1.0, 0, 2e-10, 4e-10.
    series = np.full((130, 2), 0.5)
    series[50, 0] = small
    rows = clipped(TrailingNorm(), series)
    assert rows[100:, 1] == pytest.approx(0.5)
    assert (rows[100:, 0] >= (0.5 if small == 0 else 0.05)).all()


def test_a_part_that_wakes_late_has_a_warm_up_of_its_own() -> None:
    series = np.full((60, 2), 0.5)
    series[:30, 1] = 0.0
    series[50, :] = 100.0
    rows = clipped(TrailingNorm(warmup_steps=10), series)
    assert rows[30:50, 1] == pytest.approx(0.5)
    assert rows[50] == pytest.approx([0.525, 0.525])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("q", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("initial", [None, 1e4])
def test_the_tracker_follows_its_formula(seed: int, q: float, initial: float | None) -> None:
    series = messy(seed, parts=2)
    rows = thresholds_of(QuantileTracker(q, 0.2, initial), series)
    for column, found in zip(series.T, rows.T, strict=True):
        level = math.inf if initial is None else initial
        for norm, tau in zip(column.tolist(), found.tolist(), strict=True):
            usable = math.isfinite(norm) and norm > 0
            if usable and math.isinf(level):
                level = norm
            assert tau == pytest.approx(level, rel=1e-9)
            if usable:
                level *= math.exp(-0.2 * ((norm <= tau) - q))


@pytest.mark.parametrize("q", [0.2, 0.5, 0.9])
def test_the_tracker_leaves_the_share_q_alone(q: float) -> None:
    series = np.random.default_rng(8).lognormal(3.0, 1.0, (3000, 1))
    rows = thresholds_of(QuantileTracker(q, rate=0.1, initial=1e-3), series)
    assert (series <= rows)[500:].mean() == pytest.approx(q, abs=0.02)
