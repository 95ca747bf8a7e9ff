from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from utilsforecast import losses

from apps.energy.forecast import Forecast
from apps.energy.metrics import METRICS, evaluate, mase_scale
from apps.energy.series import Series


def one_day(truth: list[float], quantiles: list[list[float]], levels=(0.1, 0.5, 0.9)) -> Forecast:
    origins = pd.DatetimeIndex(["2024-01-01"])
    times = origins.to_numpy()[:, None] + np.arange(len(truth)) * np.timedelta64(1, "h")
    return Forecast(origins, times, np.array([truth]), np.array([quantiles], float), levels)


def test_hand_worked_scores():
    # Errors of the median: -1 and +1. Truths: 2 and 4.
    scores = evaluate(one_day([2.0, 4.0], [[0.0, 1.0, 2.0], [4.5, 5.0, 6.0]]), mase_scale=2.0)
    assert tuple(scores) == METRICS
    assert scores["mae"] == scores["rmse"] == 1.0
    assert scores["mape"] == pytest.approx(100 * (1 / 2 + 1 / 4) / 2)
    assert scores["wape"] == pytest.approx(100 * 2 / 6)
    assert scores["mase"] == 0.5
    # Quantile losses: level .1: .1 * 2 and .9 * .5; level .5: .5 and .5; level .9: 0 and .1 * 2.
    total = (0.2 + 0.45) + (0.5 + 0.5) + (0.0 + 0.2)
    assert scores["pinball"] == pytest.approx(total / 6)
    assert scores["wql"] == pytest.approx(100 * 2 * total / 3 / 6)
    # 2 is on the upper bound of [0, 2] and counts; 4 is below [4.5, 6].
    assert scores["coverage_80"] == 50.0


@settings(max_examples=20)
@given(seed=st.integers(0, 999), scale=st.floats(0.1, 100.0))
def test_scores_agree_with_the_formulas_of_gluonts(seed, scale):
    rng = np.random.default_rng(seed)
    truth = scale * rng.uniform(1.0, 2.0, 24)
    levels = tuple(np.arange(1, 10) / 10)
    quantiles = np.sort(scale * rng.uniform(0.5, 2.5, (24, 9)), axis=1)
    scores = evaluate(one_day(truth.tolist(), quantiles.tolist(), levels), 1.0)
    # GluonTS: QuantileLoss[q] = 2 * sum |(y_q - y) * ((y <= y_q) - q)|, weighted by sum |y|.
    loss = 2 * np.abs((quantiles - truth[:, None]) * ((truth[:, None] <= quantiles) - levels))
    assert scores["wql"] == pytest.approx(100 * (loss.sum(axis=0) / truth.sum()).mean())
    assert scores["wql"] == pytest.approx(100 * 2 * scores["pinball"] / truth.mean())
    inside = (truth >= quantiles[:, 0]) & (truth <= quantiles[:, 8])
    assert scores["coverage_80"] == pytest.approx(100 * inside.mean())


def test_a_zero_truth_has_no_mape_and_all_zero_no_weighted_score():
    scores = evaluate(one_day([0.0, 4.0], [[0, 1, 2], [4, 5, 6]]), 1.0)
    assert math.isnan(scores["mape"])
    assert math.isfinite(scores["wape"])
    scores = evaluate(one_day([0.0, 0.0], [[0, 1, 2], [0, 1, 2]]), 0.0)
    assert all(math.isnan(scores[name]) for name in ("mape", "wape", "wql", "mase"))
    assert scores["mae"] == 1.0


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_broken_forecast_is_never_scored_well(value, level):
    quantiles = [[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]]
    quantiles[1][level] = value
    scores = evaluate(one_day([2.0, 4.0], quantiles), 1.0)
    assert tuple(scores) == METRICS
    assert not any(math.isfinite(score) for score in scores.values())


def test_an_unknown_truth_or_level_is_refused():
    with pytest.raises(ValueError, match="known, finite truth"):
        evaluate(one_day([math.nan], [[1, 2, 3]]), 1.0)
    with pytest.raises(ValueError, match=r"0\.05 is not among"):
        evaluate(one_day([1.0], [[1, 2, 3]]), 1.0, interval=(0.05, 0.95))


def hourly(values: np.ndarray, val_start: pd.Timestamp) -> Series:
    frame = pd.DataFrame(
        {"target": values}, index=pd.date_range("2024-01-01", periods=len(values), freq="1h")
    )
    end = frame.index[-1] + pd.Timedelta("1h")
    return Series(frame, (), pd.Timedelta("1h"), val_start, end, end)


def test_mase_agrees_with_utilsforecast():
    values = np.random.default_rng(0).normal(size=24 * 30)
    series = hourly(values, pd.Timestamp("2024-01-25"))
    forecast = one_day([1.0, 2.0], [[0.5, 1.5, 2.5], [1.5, 2.5, 3.5]])
    train = pd.DataFrame({"unique_id": 0, "y": values[: 24 * 24]})
    test = pd.DataFrame({"unique_id": 0, "y": [1.0, 2.0], "m": [1.5, 2.5]})
    expected = losses.mase(test, ["m"], seasonality=168, train_df=train)["m"].iloc[0]
    assert evaluate(forecast, mase_scale(series))["mase"] == pytest.approx(expected)


def test_mase_scale_by_hand_and_its_limits():
    series = hourly(np.arange(24.0 * 30), pd.Timestamp("2024-01-20"))
    assert mase_scale(series) == 168.0
    with pytest.raises(ValueError, match="no scale"):
        mase_scale(series, until=pd.Timestamp("2024-01-08"))
