"""What a network sees of a series: nothing from after an origin that it could not know."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.energy.encoding import Encoding, Features, fit_encoding
from apps.energy.series import Series
from apps.errors import UserError

ZONES = [(None, None), ("Australia/Melbourne", "+10:00"), ("Europe/Berlin", "+01:00")]


def make_series(
    days: int = 60,
    frequency: str = "1h",
    covariates: tuple[str, ...] = ("temperature",),
    zone: tuple[str | None, str | None] = (None, None),
    start: str = "2024-03-01",
) -> Series:
    step = pd.Timedelta(frequency)
    index = pd.date_range(start, periods=int(days * (pd.Timedelta("1D") / step)), freq=step)
    values = np.random.default_rng(0).normal(size=(len(index), 1 + len(covariates)))
    frame = pd.DataFrame(values, index, ["target", *covariates])
    border = [index[0] + pd.Timedelta(days=int(days * share)) for share in (0.7, 0.85, 1.0)]
    return Series(frame, covariates, step, *border, *zone)


def fit(series: Series, features: Features | None = None, horizon: int | None = None) -> Encoding:
    return fit_encoding(
        series,
        features or Features(),
        target="load",
        timestamp="time",
        horizon=horizon or series.horizon,
        levels=(0.1, 0.5, 0.9),
        mase_scale=1.0,
    )


def changed(series: Series, column: int, rows: slice) -> Series:
    frame = series.frame.copy()
    frame.iloc[rows, column] += 1000.0
    return Series(
        frame,
        series.covariates,
        series.frequency,
        series.val_start,
        series.test_start,
        series.end,
        series.timezone,
        series.utc_offset,
    )


@settings(max_examples=60)
@given(data=st.data(), zone=st.sampled_from(ZONES), horizon=st.sampled_from([1, 6, 24, 48]))
def test_nothing_from_after_the_origin_but_known_covariates(data, zone, horizon):
    # The clock changes on 31 March in Berlin and on 7 April in Melbourne.
    series = make_series(zone=zone)
    lags = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True))
    encoding = fit(series, Features(lookback_days=2, lags_days=lags), horizon)
    first = encoding.encode(series).first
    origin = data.draw(st.integers(first, len(series.frame) - horizon))
    past, future, target = encoding.encode(series).batch(np.array([origin]))

    later = encoding.encode(changed(series, 0, slice(origin, None))).batch(np.array([origin]))
    np.testing.assert_array_equal(later[0], past)
    np.testing.assert_array_equal(later[1], future)
    assert (later[2] != target).all()

    beyond = changed(series, 1, slice(origin + horizon, None))
    found = encoding.encode(beyond).batch(np.array([origin]))
    np.testing.assert_array_equal(found[0], past)
    np.testing.assert_array_equal(found[1], future)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("origin", [600, 720, 727, 900])
def test_the_step_before_the_origin_is_seen(zone, origin):
    series = make_series(zone=zone)
    encoding = fit(series)
    at = np.array([origin])
    past, future, _ = encoding.encode(series).batch(at)
    later = encoding.encode(changed(series, 0, slice(origin - 1, origin))).batch(at)
    assert later[0][0, -1, 0] != past[0, -1, 0]
    assert (later[0][0, :-1] == past[0, :-1]).all()
    # The lag of one day brings it to the last step of the horizon, unless the clock changes.
    assert (later[1][0, -2:] != future[0, -2:]).any()


@pytest.mark.parametrize("frequency", ["15min", "30min", "1h", "1D"])
@pytest.mark.parametrize("covariates", [(), ("a",), ("a", "b")])
@pytest.mark.parametrize("lags", [[1], [7, 1, 14]])
def test_widths_match_the_arrays(frequency, covariates, lags):
    series = make_series(90, frequency, covariates)
    encoding = fit(series, Features(lookback_days=3, lags_days=lags))
    inputs = encoding.encode(series)
    assert (inputs.past.shape[1], inputs.future.shape[1]) == encoding.widths
    past, future, target = inputs.batch(np.array([inputs.first, inputs.first + 1]))
    day = series.steps_per_day
    assert past.shape == (2, 3 * day, encoding.widths[0])
    assert future.shape == (2, series.horizon, encoding.widths[1])
    assert target.shape == (2, series.horizon)
    for array in (past, future, target):
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
    assert len(np.unique(inputs.past, axis=1).T) == encoding.widths[0], "no column twice"


def test_lags_are_what_they_say():
    series = make_series(covariates=())
    encoding = fit(series, Features(lags_days=[1, 7]))
    inputs = encoding.encode(series)
    row = 500
    np.testing.assert_array_equal(inputs.future[row, -2], inputs.target[row - 24])
    np.testing.assert_array_equal(inputs.future[row, -1], inputs.target[row - 24 * 7])


def test_lags_follow_the_wall_clock_over_a_change():
    """On the day after the clock goes forward the same wall clock time is 23 hours back."""
    series = make_series(covariates=(), zone=("Europe/Berlin", "+01:00"))
    inputs = fit(series, Features(lags_days=[2])).encode(series)
    row = int(series.positions(pd.DatetimeIndex(["2024-03-31 12:00"]))[0])
    civil = series.civil
    (found,) = np.flatnonzero(inputs.target == inputs.future[row, -1])
    assert civil[found] == civil[row] - pd.Timedelta(days=2)
    assert row - found == 47


def test_calendar_follows_civil_time():
    plain, zoned = make_series(), make_series(zone=("Europe/Berlin", "+01:00"))
    winter, summer = 100, 24 * 45
    columns = fit(plain).encode(plain).past[:, 2:], fit(zoned).encode(zoned).past[:, 2:]
    np.testing.assert_allclose(columns[0][winter], columns[1][winter], atol=1e-6)
    np.testing.assert_allclose(columns[0][summer + 1], columns[1][summer], atol=1e-6)


def test_scales_come_from_training_rows_alone():
    series = make_series()
    before = fit(series)
    split = int(series.positions(pd.DatetimeIndex([series.val_start]))[0])
    assert fit(changed(series, 0, slice(split, None))) == before
    assert fit(changed(series, 0, slice(split - 1, split))) != before
    inputs = before.encode(series)
    assert inputs.target[:split].mean() == pytest.approx(0, abs=1e-5)
    assert inputs.target[:split].std() == pytest.approx(1, abs=1e-5)


def test_flags_and_constants_are_not_scaled():
    series = make_series(covariates=("flag", "constant"))
    series.frame["flag"] = (np.arange(len(series.frame)) % 3 == 0).astype(float)
    series.frame["constant"] = 5.0
    encoding = fit(series)
    assert (encoding.center[1], encoding.scale[1]) == (0.0, 1.0)
    assert (encoding.center[2], encoding.scale[2]) == (5.0, 1.0)


def test_unscale_is_the_inverse():
    series = make_series()
    encoding = fit(series)
    np.testing.assert_allclose(
        encoding.unscale(encoding.encode(series).target), series.frame["target"], atol=1e-5
    )


@pytest.mark.parametrize(
    ("frequency", "horizon", "lags", "expected"),
    [
        ("1h", 24, [14, 1, 2], [1, 2, 14]),
        ("1h", 25, [1, 2, 7], [2, 7]),
        ("1h", 72, [1, 2], [3]),
        ("1D", 7, [1, 7, 14], [7, 14]),
    ],
)
def test_lags_reach_behind_the_horizon(frequency, horizon, lags, expected):
    encoding = fit(make_series(60, frequency), Features(lags_days=lags), horizon)
    assert encoding.lags_days == expected
    assert encoding.history_days == max(expected) + 1


def test_round_trip_through_plain_values():
    import json

    encoding = fit(make_series(zone=ZONES[1]))
    text = json.dumps(encoding.to_dict())
    again = Encoding.from_dict(json.loads(text))
    assert json.dumps(again.to_dict()) == text
    assert (again.scale, again.levels) == (encoding.scale, encoding.levels)


@pytest.mark.parametrize("record", [{}, {"features": {}}, {"features": {"lags": 1}}])
def test_a_record_of_something_else(record):
    with pytest.raises(UserError, match="not an energy encoding"):
        Encoding.from_dict(record)
