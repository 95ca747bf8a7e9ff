"""Times of a user's file on one fixed clock, and forecasts in the form that the file has."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from apps.energy.table import TableOptions, TimeTable, read_table
from apps.errors import UserError


def read(path: Path, timezone: str | None = None) -> TimeTable:
    return read_table(path, TableOptions(target="load", timezone=timezone))


@pytest.mark.parametrize(
    ("columns", "written"),
    [
        ({"date": "%d/%m/%Y", "hour": "%H"}, "%d/%m/%Y %H:%M"),
        ({"date": "%m/%d/%Y", "time": "%H:%M"}, "%m/%d/%Y %H:%M"),
        ({"year": "%Y", "month": "%m", "day": "%d", "hour": "%H"}, "%Y-%m-%d %H:%M"),
        ({"when": "%y-%m-%d %H:%M"}, "%y-%m-%d %H:%M"),
        ({"when": "%Y%m%dT%H%M%SZ"}, "%Y%m%dT%H%M%SZ"),
    ],
)
def test_a_forecast_is_written_with_the_time_of_the_day(tmp_path, columns, written):
    times = pd.date_range("2024-01-01", periods=24 * 40, freq="h")
    table = pd.DataFrame({name: times.strftime(form) for name, form in columns.items()})
    table.assign(load=range(len(times))).to_csv(tmp_path / "load.csv", index=False)
    found = read(tmp_path / "load.csv")
    assert found.frame.index.equals(times)
    assert found.clock.write(times[-3:]) == list(times[-3:].strftime(written))


def test_bare_dates_at_midnight_are_written_with_the_time_of_the_day(tmp_path):
    times = pd.date_range("2024-01-01", periods=24 * 40, freq="h")
    shown = [f"{time:%d/%m/%Y %H:%M}".removesuffix(" 00:00") for time in times]
    table = pd.DataFrame({"when": shown, "load": range(len(times))})
    table.to_csv(tmp_path / "load.csv", index=False)
    found = read(tmp_path / "load.csv")
    assert found.clock.write(times[:2]) == ["01/01/2024 00:00", "01/01/2024 01:00"]


@pytest.mark.parametrize(("frequency", "last"), [("h", "25"), ("30min", "49")])
def test_hours_that_are_counted_through_changes_of_clocks(tmp_path, frequency, last):
    times = pd.date_range("2024-03-20", "2024-11-10", freq=frequency, tz="Europe/London")[:-1]
    days = times.strftime("%d-%b-%Y")
    table = pd.DataFrame({"date": days, "period": pd.Series(days).groupby(days).cumcount() + 1})
    table.assign(load=range(len(times))).to_csv(tmp_path / "load.csv", index=False)
    with pytest.raises(UserError, match=rf"'{last}': hours that are counted .* set data.timezone"):
        read(tmp_path / "load.csv")
    found = read(tmp_path / "load.csv", timezone="Europe/London")
    assert found.frame.index.equals(times.tz_convert("UTC").tz_localize(None).as_unit("us"))
    assert found.frame["target"].tolist() == list(range(len(times)))
