from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from apps.finance.distribution import normal
from apps.finance.forecast import Forecast
from apps.finance.metrics import evaluate
from apps.finance.recalibration import average, recalibrate


def made(n: int = 1500, horizon: int = 1, assets: int = 1, scale: float = 2.0) -> Forecast:
    """Forecasts of unit variance for returns `scale` times as large."""
    rng = np.random.default_rng(0)
    days = pd.bdate_range("2010-01-01", periods=n + horizon)
    mean, variance = np.zeros((n, assets)), np.ones((n, assets))
    truth = scale * rng.standard_t(5, (n, assets)) * np.sqrt(3 / 5)
    return Forecast(
        days[:n],
        days[horizon:],
        tuple("AB"[:assets]),
        truth,
        truth**2,
        mean,
        variance,
        *normal(mean, variance),
    )


def test_too_narrow_forecasts_are_made_good():
    raw = made()
    fixed = recalibrate(raw, 500)
    before, after = (evaluate(f.select(np.arange(1500) >= 500), 1) for f in (raw, fixed))
    assert before["hits_1"] > 8
    assert after["hits_1"] == pytest.approx(1.0, abs=0.4)
    assert after["hits_5"] == pytest.approx(5.0, abs=1.0)
    assert after["kupiec_1"] > 0.05 > before["kupiec_1"]
    assert after["fz_1"] < before["fz_1"]
    assert after["qlike"] == before["qlike"], "the variance stays"


@pytest.mark.parametrize("horizon", [1, 5])
def test_only_forecasts_that_have_ended_are_looked_at(horizon):
    raw = made(600, horizon)
    later = raw.truth.copy()
    at = 500
    later[at - horizon + 1 :] -= 100.0  # not yet known at the origin of forecast `at`
    changed = replace(raw, truth=later)
    for mine, theirs in zip(
        _tails(recalibrate(raw, 300)), _tails(recalibrate(changed, 300)), strict=True
    ):
        np.testing.assert_array_equal(mine[: at + 1], theirs[: at + 1])
        assert (mine[at + 1] != theirs[at + 1]).any()


def _tails(forecast: Forecast) -> tuple[np.ndarray, np.ndarray]:
    return forecast.quantiles, forecast.shortfall


def test_few_days_and_zero_change_nothing():
    raw = made(400)
    assert recalibrate(raw, 0) is raw
    fixed = recalibrate(raw, 300, least=250)
    np.testing.assert_array_equal(fixed.quantiles[:250], raw.quantiles[:250])
    assert (fixed.quantiles[250:] != raw.quantiles[250:]).any(axis=(1, 2)).all()


def test_each_asset_by_itself():
    two = made(assets=2)
    two.truth[:, 1] *= 10
    fixed = recalibrate(two, 500)
    ratio = fixed.quantile(0.05)[600:, 1] / fixed.quantile(0.05)[600:, 0]
    assert 8 < np.median(ratio) < 12


def test_average_is_the_geometric_mean_and_keeps_the_shape():
    one = made(300)
    both = average(one, one.with_variance(16.0 * one.variance))
    np.testing.assert_allclose(both.variance, 4.0)
    np.testing.assert_allclose(both.quantiles, 2 * one.quantiles)
    np.testing.assert_allclose(both.shortfall, 2 * one.shortfall)
    with pytest.raises(ValueError, match="different days"):
        average(one, made(200))


def test_a_table_and_back():
    two = made(40, horizon=5, assets=2)
    again = Forecast.from_frame(two.to_frame())
    for name in (
        "origins",
        "dates",
        "truth",
        "realised",
        "mean",
        "variance",
        "quantiles",
        "shortfall",
    ):
        np.testing.assert_array_equal(getattr(again, name), getattr(two, name))
    assert again.assets == two.assets == ("A", "B")
