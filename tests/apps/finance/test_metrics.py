from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from apps.finance.distribution import normal
from apps.finance.forecast import Forecast
from apps.finance.metrics import METRICS, evaluate


def made(mean: float = 0.0, sd: float = 1.0, n: int = 4000, assets: int = 1, horizon: int = 1):
    """Standard normal returns, forecast as normal with that mean and deviation."""
    days = pd.bdate_range("2000-01-03", periods=n + horizon)
    truth = np.random.default_rng(0).standard_normal((n, assets))
    means, variance = np.full((n, assets), mean), np.full((n, assets), sd**2)
    names = tuple(f"A{i}" for i in range(assets))
    spread = normal(means, variance)
    return Forecast(days[:n], days[horizon:], names, truth, truth**2, means, variance, *spread)


def test_scores_by_hand():
    forecast = made(0.1, 1.3)
    y = forecast.truth[:, 0]
    scores = evaluate(forecast, 1)
    assert {*scores, "fz_1_raw", "log_score_raw", "hits_1_raw"} == {
        metric.name for metric in METRICS
    }
    assert scores["qlike"] == pytest.approx((math.log(1.69) + y**2 / 1.69).mean())
    assert scores["mse"] == pytest.approx(((1.69 - y**2) ** 2).mean())
    assert scores["log_score"] == pytest.approx(-stats.norm.logpdf(y, 0.1, 1.3).mean(), abs=3e-4)
    assert scores["mae"] == pytest.approx(np.abs(1.69 - y**2).mean())
    var = 0.1 + 1.3 * stats.norm.ppf(0.01)
    assert scores["hits_1"] == pytest.approx(100 * (y <= var).mean())
    assert scores["pinball_1"] == pytest.approx(
        np.maximum(0.01 * (y - var), -0.99 * (y - var)).mean()
    )
    assert scores["direction"] == pytest.approx(100 * (y > 0).mean())
    low, high = proportion_confint((y > 0).sum(), len(y), method="wilson")
    assert scores["direction_margin"] == pytest.approx(50 * (high - low))
    assert scores["return_r2"] == pytest.approx(100 * (1 - ((y - 0.1) ** 2).sum() / (y**2).sum()))


def test_crps_is_that_of_a_normal():
    # Gneiting and Raftery 2007: sd [z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)].
    forecast = made(0.3, 1.2)
    z = (forecast.truth[:, 0] - 0.3) / 1.2
    exact = 1.2 * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / math.sqrt(math.pi))
    assert evaluate(forecast, 1)["crps"] == pytest.approx(exact.mean(), rel=5e-3)


def test_the_true_distribution_scores_best_and_passes():
    right, wide, narrow = (evaluate(made(sd=sd, assets=3), 1) for sd in (1.0, 1.5, 0.7))
    for name in ("qlike", "log_score", "crps", "pinball_1", "pinball_5", "fz_1", "fz_5"):
        assert right[name] < min(wide[name], narrow[name]), name
    assert right["passing"] > 50
    assert wide["passing"] == narrow["passing"] == 0
    assert narrow["kupiec_1"] < 1e-6


def test_no_opinion_has_no_direction():
    scores = evaluate(made(), 1)
    assert math.isnan(scores["direction"])
    assert math.isnan(scores["direction_margin"])
    assert (scores["return_r2"], scores["return_dm"]) == (0.0, 1.0)


def test_overlapping_horizons_are_thinned_out_for_the_tests():
    one, five = evaluate(made(0.1), 1), evaluate(made(0.1), 5)
    assert five["qlike"] == one["qlike"]
    assert five["direction_margin"] == pytest.approx(
        one["direction_margin"] * math.sqrt(5), rel=0.02
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mean", math.nan),
        ("variance", 0.0),
        ("variance", math.inf),
        ("quantiles", math.nan),
        ("shortfall", -math.inf),
    ],
)
def test_a_broken_forecast_is_never_scored_well(field, value):
    forecast = made()
    values = getattr(forecast, field).copy()
    values[7] = value
    scores = evaluate(replace(forecast, **{field: values}), 1)
    assert scores
    assert not any(math.isfinite(score) for score in scores.values())


def test_unknown_truth_is_refused():
    forecast = made()
    forecast.truth[3] = math.nan
    with pytest.raises(ValueError, match="known, finite truth"):
        evaluate(forecast, 1)
