"""The network that begins as a ridge regression: what it begins as, and what it may change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from apps.base.task import Optimization
from apps.energy.application import Energy
from apps.energy.baselines import fit
from apps.energy.data import SeriesData
from apps.energy.forecast import Forecast
from apps.energy.forecasting import SHARES, choose_share, combine, forecast_origins
from apps.energy.regression_encoding import PLAIN_LAGS, RegressionEncoding, RegressionFeatures
from apps.energy.regressions import RIDGE_PENALTIES
from apps.energy.ridge_residual import RidgeResidual
from apps.energy.series import Series
from apps.energy.sources import Source
from apps.energy.task import ForecastTask
from tests.apps.energy.test_baselines import synthetic


class Given(Source):
    """A series that is already there."""

    def __init__(self, series: Series) -> None:
        self.series = series

    name = "a series"
    target = "load"

    def fetch(self) -> None:
        """Nothing has to be."""

    def read(self) -> Series:
        """The series."""
        return self.series


def started(series: Series, **settings: object) -> tuple[ForecastTask, SeriesData]:
    """A task whose network has its closed form, and its data."""
    app = Energy("energy", RegressionFeatures(more_lags=()), **settings)
    data = app.datamodule(Given(series), seed=0)
    data.setup("fit")
    torch.manual_seed(0)
    net = RidgeResidual(**app.sizes(data.description), hidden_size=4)
    optimization = Optimization(lambda groups: torch.optim.SGD(groups, lr=0.1))
    task = app.task(net, data.description, optimization)
    app.start(task, data)
    assert isinstance(task, ForecastTask)
    return task, data


def shifted(series: Series, by: float) -> Series:
    return replace(series, frame=series.frame.assign(target=series.frame["target"] + by))


SERIES = {
    "two hours, temperature": synthetic(),
    "hours, nothing else": synthetic("1h", covariates=False),
    "days, temperature": synthetic("1D", days=120),
    "around zero": shifted(synthetic("4h", covariates=False), -11.0),
}


@pytest.mark.parametrize("name", SERIES)
def test_it_begins_as_the_ridge_baseline(name):
    series = SERIES[name]
    task, data = started(series)
    origins = data.origins("val")
    expected = fit("ridge", series).forecast(series, origins)
    forecast = forecast_origins(task, data.encoding, data.inputs, series, origins)
    # float32 against float64: inputs and sums over some dozens of them are off by 1e-7 of their
    # size each; the quantiles' distance has a floor of 0.001 standard deviations.
    spread = series.frame["target"].std()
    np.testing.assert_allclose(forecast.median, expected.median, atol=3e-4 * spread)
    np.testing.assert_allclose(forecast.quantiles, expected.quantiles, atol=5e-3 * spread)


@pytest.mark.parametrize("name", SERIES)
def test_the_start_is_the_solution_of_scikit_learn(name):
    task, data = started(SERIES[name])
    past, future, target = data.inputs.batch(data.series.positions(data.origins("train")))
    slot = future.shape[1] // 2
    inputs = np.concatenate([future[:, slot, 1:], past[..., 0]], axis=1).astype(np.float64)
    scaled = StandardScaler().fit_transform(inputs)
    model = RidgeCV(RIDGE_PENALTIES).fit(scaled, target[:, slot] - future[:, slot, 0])
    found = task.net.eval()(torch.from_numpy(past), torch.from_numpy(future))[:, slot, 4]
    expected = model.predict(scaled) + future[:, slot, 0]
    np.testing.assert_allclose(found.detach(), expected, atol=3e-4)


def test_the_correction_is_zero_at_first_and_has_a_gradient():
    task, data = started(SERIES["two hours, temperature"])
    batch = next(iter(data.train_dataloader()))
    evaluated = task.net.eval()(*batch[:2])
    torch.testing.assert_close(task.net.train()(*batch[:2]), evaluated, rtol=0, atol=1e-5)
    task.loss(batch).backward()
    norms = {name: float(p.grad.norm()) for name, p in task.net.named_parameters()}
    moving = {name for name, norm in norms.items() if norm > 0}
    # What is before the head gets a gradient as soon as the head is not zero.
    assert moving == {"weight_change", "bias_change", "head.output.weight", "head.output.bias"}


def forecasts(task: ForecastTask, data: SeriesData, share: float, part: str = "val") -> Forecast:
    encoding = replace(data.encoding, share=share)
    return forecast_origins(task, encoding, data.inputs, data.series, data.origins(part))


def test_a_share_of_the_forecast_is_the_network_and_the_rest_the_ridge():
    task, data = started(SERIES["two hours, temperature"])
    with torch.no_grad():
        task.net.bias_change += 1.0
        task.net.head.output.bias[1:] += 1.0
    ridge, half, network = (forecasts(task, data, share) for share in (*SHARES, 1.0))
    np.testing.assert_allclose(half.quantiles, combine(ridge, network, 0.5).quantiles, rtol=1e-12)
    np.testing.assert_allclose(half.quantiles, (ridge.quantiles + network.quantiles) / 2)
    expected = fit("ridge", data.series).forecast(data.series, data.origins("val"))
    np.testing.assert_allclose(ridge.median, expected.median, rtol=1e-4)
    assert (network.median > ridge.median).all()


def steady() -> Series:
    """A load of 10 with a daily swing of 2 and noise of 0.05, which is easy to forecast."""
    series = synthetic("1h", covariates=False)
    noise = np.random.default_rng(1).normal(0.0, 0.05, len(series.frame))
    hour = pd.DatetimeIndex(series.frame.index).hour.to_numpy()
    return replace(series, frame=series.frame.assign(target=10 + np.sin(hour * np.pi / 12) + noise))


@pytest.mark.parametrize(("correction", "share"), [(0.4, 0.5), (-0.4, 0.0), (0.8, 0.5)])
def test_validation_days_choose_the_share(correction, share):
    series = steady()
    task, data = started(series)
    with torch.no_grad():
        task.net.bias[0] -= 0.4  # a ridge that forecasts too little, by 0.4 standard deviations
        task.net.bias_change += correction
    found = choose_share(task, data.encoding, data.inputs, series, data.origins("val"))
    assert found == share


def test_a_ridge_does_not_hide_a_network_that_broke():
    series = steady()
    task, data = started(series)
    with torch.no_grad():
        task.net.bias_change += torch.nan
    found = choose_share(task, data.encoding, data.inputs, series, data.origins("val"))
    assert found == 0.5


@pytest.mark.parametrize("hour", [0, 8, 18])
def test_a_forecast_from_any_hour_is_in_the_order_of_time(hour):
    series = steady()
    task, data = started(series)
    start = series.test_start + pd.Timedelta(hours=hour)
    later = replace(series, test_start=start, val_start=start)
    inputs = data.encoding.encode(later)
    origins = pd.DatetimeIndex([start])
    forecast = forecast_origins(task, data.encoding, inputs, later, origins)
    assert list(forecast.times[0]) == list(pd.date_range(start, periods=24, freq="h"))
    np.testing.assert_array_equal(
        forecast.truth[0], series.frame["target"].loc[start:].iloc[:24].to_numpy()
    )
    # Hours mixed up would miss by 2.
    assert np.abs(forecast.median - forecast.truth).max() < 0.4


def test_the_later_ridge_has_seen_validation_days():
    series = SERIES["hours, nothing else"]  # where hinges do not depend on validation days
    task, data = started(series)
    origins = data.origins("test")
    expected = fit("ridge", series, series.test_start).forecast(series, origins)
    forecast = forecast_origins(task, data.encoding, data.inputs, series, origins)
    spread = series.frame["target"].std()
    np.testing.assert_allclose(forecast.median, expected.median, atol=3e-4 * spread)


@pytest.mark.parametrize("part", ["val", "test"])
def test_nothing_of_a_later_part_reaches_the_start(part):
    series = SERIES["two hours, temperature"]
    frame = series.frame.copy()
    frame.loc[frame.index >= series.bounds(part)[0]] *= 3.0
    number = 0 if part == "val" else 1
    before, after = (started(s)[0].net for s in (series, replace(series, frame=frame)))
    for name in ("weight", "bias", "raw_gaps"):
        assert torch.equal(getattr(before, name)[number], getattr(after, name)[number])
    assert torch.equal(before.scale, after.scale)


def test_a_day_sees_nothing_of_itself_but_known_covariates():
    series = SERIES["two hours, temperature"]
    data = started(series)[1]
    origin = data.origins("test")[2:3]
    frame = series.frame.copy()
    frame.loc[frame.index >= origin[0], "target"] = np.nan
    frame.loc[frame.index >= origin[0] + pd.Timedelta("1D"), "temperature"] += 50.0
    tampered = data.encoding.encode(replace(series, frame=frame))
    rows = series.positions(origin)
    for mine, theirs in zip(data.inputs.batch(rows)[:2], tampered.batch(rows)[:2], strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 0}, "hidden_size"),
        ({"dropout": 1.0}, "dropout"),
        ({"num_quantiles": 4}, "num_quantiles must be odd"),
    ],
)
def test_impossible_settings(settings, message):
    sizes = {"past_size": 1, "future_size": 3, "lookback": 4, "horizon": 4, "num_quantiles": 5}
    with pytest.raises(ValueError, match=message):
        RidgeResidual(**(sizes | settings))


def daily_pattern(period: int, days: int = 400) -> Series:
    """Six-hourly values that repeat after so many days, with noise, and no other shape."""
    rng = np.random.default_rng(3)
    times = pd.date_range("2023-01-01", periods=4 * days, freq="6h")
    shape = np.tile(rng.normal(size=4 * period), -(-days // period))[: 4 * days]
    frame = pd.DataFrame({"target": 10 + shape + rng.normal(0, 0.1, 4 * days)}, times)
    end = times[-1] + times.freq
    borders = (end - 60 * pd.Timedelta("1D"), end - 30 * pd.Timedelta("1D"), end)
    return Series(frame, (), pd.Timedelta("6h"), *borders)


@pytest.mark.parametrize(
    ("series", "lags"),
    [
        (daily_pattern(28), PLAIN_LAGS),  # which no shorter lag tells
        (daily_pattern(7), ()),  # which a week tells, so that more lags are noise
        (daily_pattern(28, days=200), ()),  # too few days
    ],
)
def test_more_lags_are_taken_where_they_help_on_later_training_days(series, lags):
    app = Energy("energy", RegressionFeatures())
    data = app.datamodule(Given(series), seed=0)
    data.setup("fit")
    assert data.encoding.features.more_lags == lags


def test_what_lies_after_training_chooses_no_lags():
    series = daily_pattern(28)
    frame = series.frame.copy()
    frame.loc[series.val_start :, "target"] = 10.0
    features = RegressionFeatures()
    chosen = [
        Energy("energy", features).datamodule(Given(one), seed=0)
        for one in (series, replace(series, frame=frame))
    ]
    for data in chosen:
        data.setup("fit")
    assert chosen[0].encoding.features == chosen[1].encoding.features


def weekdays(noise: float, days: int = 500) -> Series:
    """A random walk on days, and beside it so much of a weekly shape."""
    rng = np.random.default_rng(5)
    times = pd.date_range("2022-01-01", periods=days, freq="D")
    walk = np.cumsum(rng.normal(size=days))
    shape = (1.0 - noise) * np.tile(rng.normal(0, 5.0, 7), -(-days // 7))[:days]
    frame = pd.DataFrame({"target": 100 + noise * walk + shape}, times)
    end = times[-1] + times.freq
    borders = (end - 140 * pd.Timedelta("1D"), end - 70 * pd.Timedelta("1D"), end)
    return Series(frame, (), pd.Timedelta("1D"), *borders)


@pytest.mark.parametrize(("noise", "naive"), [(1.0, True), (0.5, False), (0.0, False)])
def test_a_random_walk_begins_as_yesterday(noise, naive):
    series = weekdays(noise)
    task, data = started(series)
    assert data.encoding.naive is naive
    origins = data.origins("val")
    forecast = forecast_origins(task, data.encoding, data.inputs, series, origins)
    baseline = fit("seasonal_naive_day" if naive else "ridge", series)
    expected = baseline.forecast(series, origins).median
    # float32 inputs of a size of some standard deviations.
    np.testing.assert_allclose(forecast.median, expected, atol=1e-3 * series.frame["target"].std())
    again = RegressionEncoding.from_dict(data.encoding.to_dict())
    assert again.naive is naive
