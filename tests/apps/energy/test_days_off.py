"""Public holidays, by a country or by a column of working days, count as Sundays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from apps.energy.baselines import fit
from apps.energy.days_off import of_column, of_country, weekdays
from apps.energy.encoding import Features, fit_encoding
from apps.energy.series import Series, read_file
from apps.energy.table import TableOptions
from apps.errors import UserError
from tests.conftest import TINY, succeed

# Of Bavaria, as its ministry of the interior lists them: two winters of a series and what follows.
BAVARIA = ["2023-12-25", "2023-12-26", "2024-01-01", "2024-01-06"]


def load(path: Path, last: str = "2024-01-20") -> Path:
    """A load that is 30 lower on Sundays, Saturdays and Bavarian holidays; six-hourly."""
    times = pd.date_range("2023-01-01", last, freq="6h", inclusive="left")
    dates = times.normalize()
    spring = ["2023-01-06", "2023-04-07", "2023-04-10", "2023-05-01", "2023-05-18", "2023-05-29"]
    autumn = ["2023-06-08", "2023-08-15", "2023-10-03", "2023-11-01"]
    off = dates.isin(pd.to_datetime(spring + autumn + BAVARIA)) | (times.day_of_week == 6)
    workday = (times.day_of_week < 5) & ~off
    noise = np.random.default_rng(0).normal(size=len(times))
    load = 100 + 10 * np.sin(np.pi * times.hour / 12) - 30 * ~workday + noise
    pd.DataFrame({"time": times, "load": load, "workday": workday.astype(int)}).to_csv(
        path, index=False
    )
    return path


def read(path: Path, **options: object) -> Series:
    return read_file(path, TableOptions(target="load", **options))  # type: ignore[arg-type]


def test_holidays_of_a_country_and_of_its_parts():
    found = pd.DatetimeIndex(of_country("DE-BY", 2023, 2024))
    assert set(pd.to_datetime(BAVARIA)) <= set(found)
    everywhere = pd.DatetimeIndex(of_country("DE", 2023, 2024))
    assert pd.Timestamp("2024-01-06") not in everywhere  # Epiphany: in three parts alone
    assert pd.Timestamp("2024-01-01") in everywhere
    # Australia Day of 2014 was a Sunday, and made up for on Monday.
    assert np.datetime64("2014-01-27") in of_country("AU-VIC", 2014, 2014)


@pytest.mark.parametrize("place", ["XX", "DE-XX", "Prussia", "", "de"])
def test_a_place_that_is_not_known(place):
    with pytest.raises(UserError, match=f"data.country={place}: .*; known are codes"):
        of_country(place, 2023, 2024)


def test_a_day_off_counts_as_a_sunday():
    times = pd.to_datetime(["2023-12-23 18:00", "2023-12-25 00:00", "2023-12-25 23:30"])
    off = of_country("DE", 2023, 2023)
    assert weekdays(times, off).tolist() == [5, 6, 6]
    assert weekdays(times, None).tolist() == [5, 0, 0]


def test_a_column_tells_days_off_by_most_of_their_steps():
    civil = pd.date_range("2024-01-01", periods=24 * 14, freq="h")
    workday = (civil.day_of_week < 5).astype(float)
    workday[24:48] = 0  # Tuesday
    workday[48:50] = 0  # two hours of Wednesday, as where the clock keeps no summer time
    off = of_column("open", workday, civil)
    assert off.tolist() == [pd.Timestamp("2024-01-02").date()]


def test_a_column_that_tells_no_days_off():
    civil = pd.date_range("2024-01-01", periods=24 * 14, freq="h")
    with pytest.raises(UserError, match=r"data\.workday=open: must hold 1 on working days"):
        of_column("open", np.linspace(0, 1, len(civil)), civil)
    holiday = np.zeros(len(civil))
    with pytest.raises(UserError, match="is 0 on 10 of 10 Mondays to Fridays; must hold 1 on"):
        of_column("holiday", holiday, civil)


@pytest.mark.parametrize("options", [{"country": "DE-BY"}, {"workday": "workday"}])
def test_a_ridge_forecasts_holidays_that_it_is_told(tmp_path, options):
    path = load(tmp_path / "load.csv")
    told, plain = read(path, past=[], **options), read(path, past=[])
    christmas = pd.DatetimeIndex(["2023-12-25", "2023-12-26", "2023-12-27", "2024-01-02"])

    def error(series: Series) -> float:
        forecast = fit("ridge", series).forecast(series, christmas)
        return float(np.abs(forecast.median - forecast.truth).mean())

    # A day of the other kind is 30 off; the noise alone is 0.8 off.
    assert error(told) < 4
    assert error(plain) > 8


def test_a_recurrent_network_sees_a_holiday_as_a_sunday(tmp_path):
    series = read(load(tmp_path / "load.csv"), country="DE-BY", past=[])
    encoding = fit_encoding(
        series,
        Features(),
        target="load",
        timestamp="time",
        horizon=4,
        levels=(0.1, 0.5, 0.9),
        mase_scale=1.0,
    )
    calendar = encoding.encode(series).future[:, : 2 * len(encoding._harmonics)]
    rows = series.positions(pd.DatetimeIndex(["2023-12-24", "2023-12-25", "2023-12-27"]))
    sunday, holiday, wednesday = calendar[rows]
    np.testing.assert_array_equal(sunday, holiday)
    assert not np.allclose(sunday, wednesday)


def test_options_that_do_not_go_together(tmp_path):
    path = load(tmp_path / "load.csv")
    with pytest.raises(UserError, match=r"data\.country=DE and data\.workday=workday: name one"):
        read(path, country="DE", workday="workday")


@pytest.mark.parametrize("options", [["data.country=DE-BY"], ["data.workday=workday"]])
def test_a_run_keeps_where_its_holidays_come_from(tmp_path, options):
    path, run = load(tmp_path / "load.csv"), tmp_path / "run"
    settings = ["data=csv", f"data.path={path}", "data.target=load", "data.past=[]", *options]
    printed = succeed("train", *TINY, *settings, f"run_dir={run}")
    assert "as Sundays" in printed
    # A file of six weeks that have no holiday, and the workdays of the next day.
    table = pd.read_csv(path, parse_dates=["time"])
    part = table[(table["time"] >= "2023-08-16") & (table["time"] < "2023-09-28")].copy()
    part.loc[part["time"] >= "2023-09-27", "load"] = np.nan
    part.to_csv(tmp_path / "autumn.csv", index=False)
    out = tmp_path / "forecast.csv"
    succeed("predict", f"run={run}", f"input={tmp_path / 'autumn.csv'}", f"output={out}")
    forecast = pd.read_csv(out)
    # Six-hourly values of a Wednesday; the noise has a deviation of 1.
    truth = 100 + 10 * np.sin(np.pi * np.arange(0, 24, 6) / 12)
    assert np.abs(forecast["q0.5"] - truth).max() < 6
