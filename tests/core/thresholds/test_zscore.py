"""ZScore: ZClip as its paper has it, without its defects."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from gradclip_core import ZScore
from gradclip_core.thresholds.zscore import Mode
from tests.core.thresholds.sequences import heavy_tailed, messy, thresholds_of

MODES: list[Mode] = ["adaptive_scaling", "mean", "percentile"]


def zclip(
    norms: list[float],
    mode: str,
    deviations: float = 2.5,
    decay: float = 0.97,
    factor: float = 1.0,
    warmup_steps: int = 25,
    cap: float | None = 1.0,
    skip_update_on_spike: bool = False,
    max_spikes: int | None = None,
    floor: float = 1e-3,
    eps: float = 0.0,
) -> list[float]:
    """The norms after clipping."""
    seen: list[float] = []
    mean = var = 0.0
    streak, rows = 0, []
    for norm in norms:
        top = math.inf if cap is None else cap
        if not (math.isfinite(norm) and norm > 0):
            rows.append(math.nan)
            continue
        if len(seen) < warmup_steps:
            seen.append(norm)
            mean, var = float(np.mean(seen)), float(np.var(seen))
            rows.append(min(norm, top))
            continue
        sd = max(math.sqrt(var), floor * mean)
        score = (norm - mean) / (sd + eps)
        tau = None
        if score > deviations:
            beyond = deviations * sd
            scaled = factor * (mean + beyond / (score / deviations))
            tau = {"adaptive_scaling": scaled, "mean": mean, "percentile": mean + beyond}[mode]
        streak = streak + 1 if tau is not None else 0
        rows.append(min(norm, norm if tau is None else tau, top))
        accepted = max_spikes is not None and streak >= max_spikes
        if tau is not None and skip_update_on_spike and not accepted:
            continue
        entry = norm if tau is None or accepted else min(norm, tau)
        mean = decay * mean + (1 - decay) * entry
        var = decay * var + (1 - decay) * (entry - mean) ** 2
    return rows


def clipped(threshold: ZScore, series: np.ndarray) -> np.ndarray:
    rows = np.minimum(series, thresholds_of(threshold, series))
    rows[~(np.isfinite(series) & (series > 0))] = math.nan
    return rows


SETTINGS: list[dict[str, Any]] = [
    {},
    {"cap": None, "max_spikes": None},
    {"cap": None, "max_spikes": 3, "deviations": 1.0, "decay": 0.9},
    {"cap": 3.0, "skip_update_on_spike": True, "warmup_steps": 5, "max_spikes": 4},
    {"cap": None, "skip_update_on_spike": True, "max_spikes": None, "factor": 0.7},
    {"cap": None, "factor": 1.4, "warmup_steps": 1, "deviations": 2.0, "max_spikes": 10},
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("seed", range(2))
def test_norms_after_clipping_are_those_of_zclip(
    mode: Mode, settings: dict[str, Any], seed: int
) -> None:
    series = messy(seed, parts=3)
    wanted = {"max_spikes": 25} | settings
    oracle = np.array([zclip(column.tolist(), mode, **wanted) for column in series.T]).T
    assert (oracle < series).sum() > 5
    np.testing.assert_allclose(clipped(ZScore(mode=mode, **settings), series), oracle, rtol=1e-8)


@pytest.mark.parametrize("mode", MODES)
def test_the_floor_hardly_differs_from_the_source_where_norms_vary(mode: Mode) -> None:
    series = heavy_tailed(5)
    source = zclip(series[:, 0].tolist(), mode, cap=None, floor=0.0, eps=1e-6)
    ours = clipped(ZScore(mode=mode, cap=None, max_spikes=None), series)
    np.testing.assert_allclose(ours[:, 0], source, rtol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_nan_does_not_poison(mode: Mode) -> None:
    # ZClip@584ce4f: after one NaN mean and variance are NaN and nothing is clipped any more.
    series = np.random.default_rng(0).lognormal(0.0, 0.1, (60, 1))
    series[[3, 40]] = math.nan
    series[50] = 1e6
    assert thresholds_of(ZScore(mode=mode, cap=None), series)[50, 0] < 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("skip", [True, False])
def test_a_lasting_new_level_is_accepted_after_max_spikes(mode: Mode, skip: bool) -> None:
    random = np.random.default_rng(1)
    series = random.lognormal(0.0, 0.05, (400, 1))
    series[100:] *= 1000
    settings: dict[str, Any] = {"mode": mode, "cap": None, "skip_update_on_spike": skip}
    patient = thresholds_of(ZScore(max_spikes=20, **settings), series)
    assert (patient[100:119] < series[100:119]).all()
    assert (patient[200:] > series[200:]).mean() > 0.95
    if skip:
        stubborn = thresholds_of(ZScore(max_spikes=None, **settings), series)
        assert (stubborn[100:] < 2).all()


def test_max_spikes_counts_spikes_in_a_row_alone() -> None:
    series = np.ones((200, 1))
    series[30::2] = 1e6
    rows = thresholds_of(ZScore(mode="mean", cap=None, max_spikes=2), series)
    assert (rows[30:] < 1.1).all()
    series[31::2] = math.nan  # neither a spike nor the end of a row of them
    rows = thresholds_of(ZScore(mode="mean", cap=None, max_spikes=2), series)
    assert rows[-1, 0] > 1e5


def test_the_cap_holds_in_the_warm_up_and_after_it() -> None:
    rows = thresholds_of(ZScore(cap=0.25), heavy_tailed(2, steps=100))
    assert (rows <= 0.25).all()
    assert np.isinf(thresholds_of(ZScore(cap=None), heavy_tailed(2, steps=25))).all()


def test_a_larger_spike_has_a_lower_threshold_under_adaptive_scaling() -> None:
    taus = []
    for spike in (3.0, 10.0, 1e3, 1e12):
        series = np.random.default_rng(2).lognormal(0.0, 0.2, (41, 1))
        series[40] = spike
        taus.append(thresholds_of(ZScore(cap=None), series)[40, 0])
    assert taus == sorted(taus, reverse=True)
    assert taus[-1] == pytest.approx(np.mean(series[:25]), rel=0.1)
