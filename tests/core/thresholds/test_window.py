"""Median and WindowZScore: statistics of a window, as NumPy computes them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gradclip_core import Median, WindowZScore
from tests.core.thresholds.sequences import expected, heavy_tailed, messy, thresholds_of


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("factor", "window"), [(2.0, 100), (1.0, 1), (5.0, 7), (0.5, 400)])
def test_median_is_that_of_the_norms_before(seed: int, factor: float, window: int) -> None:
    def oracle(past: list[float]) -> float:
        return factor * float(np.median(past[-window:])) if past else math.inf

    series = messy(seed, parts=3)
    rows = thresholds_of(Median(factor, window), series)
    np.testing.assert_allclose(rows, expected(oracle, series), rtol=1e-12)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("z", "window", "least"), [(6.0, 128, 64), (2.0, 2, 2), (3.0, 10, 10), (1.0, 400, 20)]
)
def test_window_z_score_is_that_of_the_norms_before(
    seed: int, z: float, window: int, least: int
) -> None:
    def oracle(past: list[float]) -> float:
        if len(past) < least:
            return math.inf
        kept = past[-window:]
        mean, sd = np.mean(kept), np.std(kept, ddof=1)
        return float(mean + z * max(sd, 1e-3 * mean))

    series = messy(seed, parts=3)
    rows = thresholds_of(WindowZScore(z, window, least), series)
    np.testing.assert_allclose(rows, expected(oracle, series), rtol=1e-9)


def test_an_early_spike_does_not_lift_its_own_median() -> None:
    assert thresholds_of(Median(2.0), np.array([[1.0], [1e6]]))[1, 0] == 2.0


def test_the_median_bears_outliers_in_just_under_half_of_the_window() -> None:
    series = np.ones((300, 1))
    series[100:149] = 1e9
    assert (thresholds_of(Median(2.0, 100), series)[1:] == 2.0).all()
    series[100:200] = 1e9
    assert thresholds_of(Median(2.0, 100), series)[155, 0] == 2e9


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_does_not_blind_the_window(bad: float) -> None:
    # OLMo-core: one NaN in the window makes its mean NaN, so that no comparison holds until it
    # has left, window steps later.
    series = np.random.default_rng(3).lognormal(0.0, 0.1, (110, 1))
    series[80] = bad
    rows = thresholds_of(WindowZScore(), series)
    assert np.isfinite(rows[64:]).all()
    assert rows[81:].max() < 2


def test_a_spike_leaves_the_window() -> None:
    series = heavy_tailed(4, steps=60) * 0 + 1.0
    series[20] = 1e6
    rows = thresholds_of(WindowZScore(window=10, warmup_steps=5), series)
    assert (rows[21:31] > 1e5).all()
    assert (rows[31:] < 1.1).all()
