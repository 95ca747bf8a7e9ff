"""Ema and LogZScore: the averages that the formula says, written out as weighted sums."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gradclip_core import Ema, LogZScore
from gradclip_core.thresholds.ema import moved
from gradclip_core.thresholds.recurrence import newest_weight
from tests.core.thresholds.sequences import heavy_tailed, messy, thresholds_of


def weighted(values: list[float], decay: float) -> tuple[float, float]:
    """Mean and standard deviation with the weights (1 - b) b^(t - i) / (1 - b^t)."""
    weights = decay ** np.arange(len(values))[::-1]
    weights = weights / weights.sum()
    mean = (weights * values).sum()
    return mean, math.sqrt((weights * (np.array(values) - mean) ** 2).sum())


def ema(
    norms: list[float], factor: float, decay: float, deviations: float, entry_cap: float
) -> list[float]:
    entries: list[float] = []
    rows = []
    for norm in norms:
        tau = math.inf
        if entries:
            mean, sd = weighted(entries, decay)
            tau = factor * mean + deviations * max(sd, 1e-3 * mean)
        rows.append(tau)
        if math.isfinite(norm) and norm > 0:
            entries.append(min(norm, entry_cap * tau))
    return rows


def log_z(norms: list[float], z: float, decay: float, warmup: int) -> list[float]:
    entries: list[float] = []
    rows = []
    for norm in norms:
        highest = math.inf
        if len(entries) >= warmup:
            mean, sd = weighted(entries, decay)
            highest = mean + z * max(sd, 1e-3)
        rows.append(math.exp(highest))
        if math.isfinite(norm) and norm > 0:
            entries.append(min(math.log(norm), highest))
    return rows


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "settings",
    [
        (1.5, 0.98, 0.0, 2.0),
        (1.0, 0.9, 3.0, 1.5),
        (3.0, 0.0, 0.0, 1.0),
        (1.2, 0.7, 1.0, math.inf),
        (0.5, 0.99, 0.0, 4.0),
    ],
)
def test_ema_is_a_weighted_sum(seed: int, settings: tuple[float, float, float, float]) -> None:
    series = messy(seed, parts=3)
    wanted = np.array([ema(column.tolist(), *settings) for column in series.T]).T
    np.testing.assert_allclose(thresholds_of(Ema(*settings), series), wanted, rtol=1e-9)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("settings", [(4.0, 0.99, 25), (2.0, 0.9, 1), (1.0, 0.98, 5)])
def test_log_z_is_a_weighted_sum(seed: int, settings: tuple[float, float, int]) -> None:
    series = messy(seed, parts=3)
    wanted = np.array([log_z(column.tolist(), *settings) for column in series.T]).T
    np.testing.assert_allclose(thresholds_of(LogZScore(*settings), series), wanted, rtol=1e-9)


def test_log_z_has_no_threshold_in_the_warm_up_and_one_after_it() -> None:
    rows = thresholds_of(LogZScore(warmup_steps=7), heavy_tailed(1, steps=20))
    assert np.isinf(rows[:7]).all()
    assert np.isfinite(rows[7:]).all()


def test_a_lower_entry_cap_makes_a_spike_count_less() -> None:
    series = np.ones((50, 1))
    series[40] = 1e4
    after = [thresholds_of(Ema(entry_cap=cap), series)[41, 0] for cap in (1.0, 2.0, math.inf)]
    assert 1.5 < after[0] < after[1] < 1.7
    assert after[2] > 100


@pytest.mark.parametrize(("factor", "cap"), [(1.5, 0.6), (0.5, 2.0), (1.0, 1.0), (2.0, math.nan)])
def test_a_mean_that_could_only_fall_is_refused(factor: float, cap: float) -> None:
    with pytest.raises(ValueError, match=r"^entry_cap must be a number > 1 / factor = "):
        Ema(factor, entry_cap=cap)


@pytest.mark.parametrize("inexact", [0.0, 1e-15, -1e-15])
@pytest.mark.parametrize("decay", [0.9, 0.98, 0.999])
def test_a_power_rounded_either_way_leaves_the_first_moments_finite(
    decay: float, inexact: float
) -> None:
    """A vector unit may miss b^1 by a last bit, and 1 - b over 1 - b^1 then be over 1."""
    one = torch.tensor([1.0 + inexact], dtype=torch.float64)
    for count, zero, norm in ((1.0 + inexact, 0.0, 5.0), (one, torch.zeros_like(one), 5 * one)):
        mean, sd = moved(zero, zero, norm, newest_weight(decay, count))
        assert float(mean) == pytest.approx(5.0, rel=1e-9)
        assert float(sd) == pytest.approx(0.0, abs=1e-5)
