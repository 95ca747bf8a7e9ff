from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.energy.forecast import Forecast
from apps.energy.recalibration import LEAST, NEAR, NEAR_STEPS, recalibrate

LEVELS = (0.1, 0.5, 0.9)


def make(days: int, steps: int = 4, every: str = "6h", seed: int = 0) -> Forecast:
    """Daily forecasts of `steps` steps; they overlap when these reach beyond a day."""
    random = np.random.default_rng(seed)
    origins = pd.date_range("2024-01-01", periods=days, freq="D").as_unit("us")
    offsets = np.arange(steps) * pd.Timedelta(every).to_timedelta64()
    times = origins.to_numpy()[:, None] + offsets
    quantiles = np.sort(random.normal(size=(days, steps, len(LEVELS))), axis=-1)
    return Forecast(origins, times, random.normal(1.0, 2.0, (days, steps)), quantiles, LEVELS)


def slowly(forecast: Forecast, days: int) -> np.ndarray:
    """The same, one number at a time."""
    result = forecast.quantiles.copy()
    steps = np.diff(forecast.times[0]).max(initial=np.timedelta64(0))
    for number, origin in enumerate(forecast.times[:, 0]):
        ended = [n for n in range(len(result)) if forecast.times[n, -1] < origin]
        if len(ended) < LEAST:
            continue
        for step in range(result.shape[1]):
            for i, level in enumerate(forecast.levels):
                errors = [
                    forecast.truth[n, s] - forecast.quantiles[n, s, i]
                    for n in ended[-days:]
                    for s in range(result.shape[1])
                    if abs(
                        (forecast.times[n, s] - forecast.times[n, 0])
                        - (forecast.times[number, step] - origin)
                    )
                    <= max(NEAR, NEAR_STEPS * steps)
                ]
                result[number, step, i] += np.quantile(errors, level)
    return np.sort(result, axis=-1)


@pytest.mark.parametrize(
    ("steps", "every"), [(4, "6h"), (12, "2h"), (14, "30min"), (1, "1D"), (7, "1D")]
)
@pytest.mark.parametrize("days", [1, 5, pytest.param(14, marks=pytest.mark.slow)])
def test_equals_a_slow_transcription(steps, every, days):
    forecast = make(LEAST + days + 8, steps, every)
    found = recalibrate(forecast, days).quantiles
    np.testing.assert_allclose(found, slowly(forecast, days), rtol=1e-12, atol=1e-12)
    assert (found != forecast.quantiles).any()


@settings(max_examples=15)
@given(changed=st.integers(0, 24), steps=st.sampled_from([4, 8, 12]))
def test_the_truth_of_steps_after_an_origin_does_not_reach_it(changed, steps):
    forecast = make(25, steps)
    before = recalibrate(forecast, 14).quantiles
    forecast.truth[changed:] += 100.0
    after = recalibrate(forecast, 14).quantiles
    untouched = forecast.times[:, 0] <= forecast.times[changed, -1]
    np.testing.assert_array_equal(after[untouched], before[untouched])
    if not untouched.all():
        assert (after[~untouched] != before[~untouched]).any()


def test_unknown_truth_of_the_last_day_is_not_needed():
    forecast = make(20)
    forecast.truth[-1] = np.nan
    assert np.isfinite(recalibrate(forecast, 14).quantiles).all()


def test_a_constant_error_is_made_good():
    forecast = make(20)
    off = forecast.truth[..., None] + np.array([-1.0, 0.0, 1.0]) + 50.0
    shifted = recalibrate(
        Forecast(forecast.origins, forecast.times, forecast.truth, off, LEVELS), 14
    )
    np.testing.assert_allclose(
        shifted.quantiles[LEAST:],
        np.sort(np.repeat(forecast.truth[LEAST:, :, None], 3, axis=-1), axis=-1),
        atol=1e-9,
    )


def test_the_first_days_and_zero_days_change_nothing():
    forecast = make(20)
    np.testing.assert_array_equal(
        recalibrate(forecast, 14).quantiles[:LEAST], forecast.quantiles[:LEAST]
    )
    assert recalibrate(forecast, 0) is forecast


def test_quantiles_still_rise_and_the_input_is_left_alone():
    forecast = make(30, seed=3)
    kept = forecast.quantiles.copy()
    assert (np.diff(recalibrate(forecast, 2).quantiles, axis=-1) >= 0).all()
    np.testing.assert_array_equal(forecast.quantiles, kept)


@pytest.mark.parametrize("broken", [np.inf, -np.inf, np.nan])
def test_a_forecast_that_broke_down_is_left_alone(broken):
    forecast = make(25)
    forecast.quantiles[20:] = broken
    forecast.quantiles[5, 0, 1] = -broken
    assert recalibrate(forecast, 5) is forecast
