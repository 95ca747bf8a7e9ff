from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from arch import arch_model
from arch.univariate import EWMAVariance, ZeroMean
from sklearn.linear_model import LinearRegression

from apps.errors import UserError
from apps.finance.baselines import BASELINES, anniversaries, make_plan
from apps.finance.forecast import LEVELS, Forecast
from apps.finance.garch import garch
from tests.apps.finance.prices import make, tampered

NAMES = list(BASELINES)


def forecast(name: str, horizon: int = 1, panel=None, refit_years: int = 0) -> Forecast:
    panel = make() if panel is None else panel
    rows = panel.origins("test", horizon)
    plan = make_plan(panel, rows, horizon, anniversaries(panel, rows, refit_years))
    return BASELINES[name](panel, plan)


OPTIONS = {
    "garch": {"p": 1, "q": 1},
    "gjr_garch_t": {"p": 1, "o": 1, "q": 1, "dist": "t"},
    "egarch_t": {"vol": "EGARCH", "p": 1, "o": 1, "q": 1, "dist": "t"},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("horizon", [1, 5])
def test_garch_models_equal_the_forecasts_of_arch(name, horizon):
    panel = make()
    rows = panel.origins("test", horizon)
    ours = forecast(name, horizon, panel)
    series = pd.Series(panel.returns[1:, 0], index=panel.dates[1:])
    # The day of the first forecast has closed, so its return is known and fitted.
    fitted = arch_model(series, mean="Constant", rescale=False, **OPTIONS[name]).fit(
        last_obs=panel.dates[rows[0] + 1], disp="off"
    )
    simulated = name == "egarch_t" and horizon > 1
    more = {"method": "simulation", "simulations": 4000} if simulated else {}
    theirs = fitted.forecast(horizon=horizon, start=panel.dates[rows[0]], reindex=False, **more)
    expected = theirs.variance.sum(axis=1).loc[panel.dates[rows]]
    np.testing.assert_allclose(ours.variance[:, 0], expected, rtol=0.05 if simulated else 1e-9)
    np.testing.assert_allclose(ours.mean[:, 0], horizon * fitted.params["mu"])
    if "nu" in fitted.params:
        scale = np.sqrt(ours.variance[0, 0])
        at = fitted.model.distribution.ppf([0.01], fitted.params[["nu"]])
        assert ours.quantile(0.01)[0, 0] == pytest.approx(ours.mean[0, 0] + scale * at[0])


def test_risk_metrics_equals_arch_up_to_its_start():
    panel = make()
    ours = forecast("riskmetrics", panel=panel)
    model = ZeroMean(panel.returns[1:, 0], volatility=EWMAVariance(0.94))
    expected = model.fit(disp="off").forecast(horizon=1, start=0, reindex=False).variance
    np.testing.assert_allclose(
        ours.variance[:, 0], expected.to_numpy()[panel.origins("test", 1) - 1, 0], rtol=1e-6
    )
    assert not ours.mean.any()


def test_historical_simulation_by_hand():
    panel = make()
    ours = forecast("historical_simulation", panel=panel)
    row = panel.origins("test", 1)[3]
    sample = panel.returns[row - 249 : row + 1, 0]
    expected = np.quantile(sample, LEVELS, method="weibull")
    np.testing.assert_allclose(ours.quantiles[3, 0], expected)
    assert ours.shortfall[3, 0, 1] == pytest.approx(sample[sample <= expected[1]].mean())
    assert ours.variance[3, 0] == pytest.approx(sample.var())


def test_har_is_a_regression_of_log_ranges():
    panel = make()
    ours = forecast("har", panel=panel)
    first = panel.origins("test", 1)[0]
    spread = pd.Series(panel.ranges[:, 0])
    past = np.log(np.stack([spread.rolling(d).mean() for d in (1, 5, 22)], axis=1))
    days = np.arange(21, first)
    days = days[days >= 1]
    model = LinearRegression().fit(past[days], np.log(spread[days + 1]))
    level = np.exp(model.predict(past[days]))
    factor = (panel.returns[days + 1, 0] ** 2 / level).mean()
    expected = factor * np.exp(model.predict(past[first : first + 1]))[0]
    assert ours.variance[0, 0] == pytest.approx(expected)


@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("name", NAMES)
def test_the_future_moves_no_past_forecast(name, horizon):
    panel = make()
    at = 60
    row = panel.origins("test", horizon)[at]
    before = forecast(name, horizon, panel, refit_years=1)
    after = forecast(name, horizon, tampered(panel, row), refit_years=1)
    for field in ("mean", "variance", "quantiles", "shortfall"):
        mine, theirs = getattr(before, field), getattr(after, field)
        np.testing.assert_array_equal(mine[: at + 1], theirs[: at + 1])
    assert (before.variance[at + 1 :] != after.variance[at + 1 :]).all()


def test_without_ranges_har_uses_returns():
    rough, fine = (forecast("har", panel=make(ranges=ranges)) for ranges in (False, True))
    ratio = rough.variance / fine.variance
    assert np.isfinite(rough.variance).all()
    assert 0.5 < np.median(ratio) < 2


def test_assets_are_fitted_one_by_one():
    two = make(2)
    for name in ("garch", "har", "riskmetrics", "historical_simulation"):
        both, alone = forecast(name, panel=two), forecast(name, panel=make(1))
        np.testing.assert_allclose(both.variance[:, 0], alone.variance[:, 0])
        assert (both.variance[:, 1] != both.variance[:, 0]).all()


def test_a_plan_fits_anew_every_year():
    panel = make()
    rows = panel.origins("test", 1)
    plan = make_plan(panel, rows, 1, anniversaries(panel, rows, 1))
    np.testing.assert_array_equal(plan.rows, rows)
    starts = panel.dates[[block[0] for block in plan.blocks]]
    assert len(starts) == 2
    assert starts[1] - starts[0] >= pd.Timedelta(days=365)
    again = forecast("garch", panel=panel, refit_years=1)
    once = forecast("garch", panel=panel, refit_years=0)
    later = len(plan.blocks[0])
    np.testing.assert_allclose(again.variance[:later], once.variance[:later])
    assert (again.variance[later:] != once.variance[later:]).all()


def test_mistakes_are_told():
    panel = make(days=500)
    with pytest.raises(UserError, match="299 days to fit a baseline on before"):
        make_plan(panel, np.arange(300, 400), 1, [])
    with pytest.raises(ValueError, match="kind must be one of garch, gjr_garch_t"):
        garch(panel.returns[:, 0], panel.ranges[:, 0], 1, np.arange(400, 410), 1, "arch")
