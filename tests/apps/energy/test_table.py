"""What a user's table says is taken; what it leaves open is refused with the deciding option."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from apps.energy.series import Series, read_file
from apps.energy.table import TableOptions, TimeTable, read_table
from apps.errors import UserError
from apps.tables.reading import Reading

HOURS = 24 * 60


def write(folder: Path, times: object, **columns: object) -> Path:
    load = 100 + np.round(10 * np.sin(np.arange(len(times)) / 4.0), 3)  # type: ignore[arg-type]
    table = pd.DataFrame({"timestamp": times, "load": load} | columns)
    table.to_csv(folder / "load.csv", index=False)
    return folder / "load.csv"


def text(folder: Path, content: str) -> Path:
    (folder / "load.csv").write_text(content)
    return folder / "load.csv"


def read(path: Path, reading: Reading | None = None, **options: object) -> TimeTable:
    return read_table(path, TableOptions(reading=reading or Reading(), **options))


def series(path: Path, **options: object) -> Series:
    return read_file(path, TableOptions(**options))


def refused(call, *arguments, **options) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


LOCAL = pd.date_range("2024-09-10", periods=HOURS, freq="h", tz="Europe/Berlin")
NAIVE = LOCAL.tz_localize(None)


@pytest.mark.parametrize(
    ("form", "first", "offset", "written"),
    [
        (lambda t: f"{t.tz_convert('UTC'):%Y-%m-%d %H:%M:%S}+00", "22:00", "+00:00", "+00:00"),
        (lambda t: f"{t.tz_convert('UTC'):%Y-%m-%dT%H:%M:%SZ}", "22:00", "+00:00", "Z"),
        (lambda t: t.isoformat(), "23:00", "+01:00", "+01:00"),
        (lambda t: t.tz_convert("Asia/Kolkata").isoformat(), "03:30", "+05:30", "+05:30"),
        (lambda t: t.tz_convert("Asia/Kathmandu").isoformat(), "03:45", "+05:45", "+05:45"),
        (lambda t: f"{t.tz_convert('UTC'):%Y-%m-%d %H:%M} UTC", "22:00", "+00:00", "+00:00"),
        (
            lambda t: f"{t.tz_convert('America/St_Johns'):%Y-%m-%d %H:%M%z}",
            "18:30",
            "-03:30",
            "-03:30",
        ),
    ],
)
def test_offsets_make_one_clock_and_are_written_again(tmp_path, form, first, offset, written):
    found = read(write(tmp_path, [form(time) for time in LOCAL]))
    assert f"{found.frame.index[0]:%H:%M}" == first
    assert (np.diff(found.frame.index) == np.timedelta64(1, "h")).all()
    assert found.clock.utc_offset == offset
    shown = found.clock.write(found.frame.index[-2:])
    assert [time[-len(written) :] for time in shown] == [written] * 2
    assert list(pd.to_datetime(shown, utc=True)) == list(LOCAL[-2:].tz_convert("UTC"))


def test_local_times_with_their_zone_keep_both_autumn_hours(tmp_path):
    found = read(write(tmp_path, NAIVE), timezone="Europe/Berlin")
    assert len(found.frame) == HOURS
    assert (np.diff(found.frame.index) == np.timedelta64(1, "h")).all()
    assert found.clock.utc_offset == "+01:00"
    assert found.frame.index[0] == pd.Timestamp("2024-09-09 23:00")
    assert found.clock.write(found.frame.index) == [f"{t:%Y-%m-%d %H:%M:%S}" for t in NAIVE]
    assert "the hour that Europe/Berlin has twice on 2024-10-27 kept as two" in found.notes


def test_local_quarters_that_alternate_in_autumn(tmp_path):
    quarters = pd.date_range("2024-10-20", periods=96 * 14, freq="15min", tz="Europe/Berlin")
    wall = quarters.tz_localize(None)
    order = np.argsort(wall.to_numpy(), kind="stable")
    path = write(tmp_path, wall[order], extra=np.arange(len(wall))[order])
    found = read(path, target="load", timezone="Europe/Berlin")
    np.testing.assert_array_equal(found.frame["extra"], np.arange(len(wall)))


def test_local_times_without_a_zone_average_the_autumn_hour(tmp_path):
    found = read(write(tmp_path, NAIVE))
    assert len(found.frame) == HOURS - 1
    plain = pd.read_csv(tmp_path / "load.csv")
    twice = plain[plain["timestamp"] == "2024-10-27 02:00:00"]["load"]
    assert len(twice) == 2
    assert found.frame.loc["2024-10-27 02:00", "target"] == pytest.approx(twice.mean())
    assert any("averaged (data.timezone" in note for note in found.notes)


def test_the_spring_hour_is_interpolated_and_said(tmp_path):
    spring = pd.date_range("2024-03-01", periods=HOURS, freq="h", tz="Europe/Berlin")
    found = series(write(tmp_path, spring.tz_localize(None)))
    assert "among them the hour that daylight saving skips (2024-03-31)" in found.account
    values = found.frame["target"]
    assert values["2024-03-31 02:00"] == pytest.approx(
        (values["2024-03-31 01:00"] + values["2024-03-31 03:00"]) / 2
    )
    kept = series(tmp_path / "load.csv", timezone="Europe/Berlin")
    assert "no gaps" in kept.account
    assert len(kept.frame) == HOURS
    clock = pd.date_range("2024-03-01", periods=HOURS, freq="h")
    line = refused(series, write(tmp_path, clock), timezone="Europe/Berlin")
    assert "2024-03-31 02:00:00 does not exist in Europe/Berlin" in line
    assert "set data.utc_offset=+01:00" in line
    fixed = series(tmp_path / "load.csv", timezone="Europe/Berlin", utc_offset="+01:00")
    assert fixed.civil[-1] - fixed.frame.index[-1] == pd.Timedelta(hours=1)


def test_numbers_since_1970_are_written_as_such(tmp_path):
    times = pd.date_range("2024-01-01", periods=48, freq="h")
    found = read(write(tmp_path, (times.as_unit("ms").asi8)))
    assert found.clock.write(found.frame.index[:1]) == [str(times.as_unit("ms").asi8[0])]


TIMES = [f"2024-01-{day:02d} {hour:02d}:00" for day in range(1, 4) for hour in range(24)]


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        (
            "01/02/2024 00:00,1\n01/02/2024 01:00,2\n",
            {},
            "data.dayfirst=true or data.dayfirst=false",
        ),
        (
            "2024-01-01 01:00,1\n2024-01-01 00:00,2\n2024-01-01 02:00,3\n",
            {},
            "data row 2: 2024-01-01 00:00:00 comes after 2024-01-01 01:00:00; rows must be in",
        ),
        (
            "2024-01-01 00:00,1\n2024-01-01 01:00,2\n2024-01-01 00:00,3\n",
            {},
            "data row 3: 2024-01-01 00:00:00 is repeated (data row 1 has it, too)",
        ),
        (
            '2024-01-01 00:00,"1,234"\n2024-01-01 01:00,"1,250"\n',
            {},
            "data.decimal=comma or data.decimal=point",
        ),
        (
            "2024-01-01 00:00,1.234\n2024-01-01 01:00,987\n",
            {},
            "may be 1.234 or 1234; set data.decimal=point or data.decimal=comma",
        ),
        (
            '2024-01-01 00:00,"1,5"\n2024-01-01 01:00,2.5\n',
            {},
            "as the others of its column are: they have another decimal sign",
        ),
        (
            "2024-01-01 00:00,2.3M\n2024-01-01 01:00,4\n",
            {},
            "'4' is not a finite number like the others of its column: it lacks the suffix 'M'",
        ),
        (
            "2024-01-01 00:00,5\n2024-01-01 01:00,-999\n2024-01-01 02:00,6\n",
            {},
            "data row 2: -999 (1 times) is far below all others "
            "(if it stands for a missing one: data.missing=['-999'])",
        ),
        ("2024-01-01 00:00,5 kWh\n2024-01-01 01:00,6 MWh\n", {}, "in kWh, as the first of its"),
        ("2024-01-01 00:00,=5\n2024-01-01 01:00,=6\n", {}, "data row 1: '=5' is not a finite"),
        ("45292.0,5\n45292.0416,6\n", {}, "it looks like a spreadsheet's count of days: save"),
        ("1 mars 2024 10:00,5\n2 mars 2024 11:00,6\n", {}, "months are read in English, zones as"),
        ("2024-01-01 10:00 CET,5\n2024-01-02 11:00 CET,6\n", {}, "offsets such as +01:00"),
        ("2024-01-01 00:00,$5\n2024-01-01 01:00,€6\n", {}, "in $, as the first of its column is"),
        ("2024-01-01 00:00,5%\n2024-01-01 01:00,6\n", {}, "it lacks the sign '%'"),
        (
            "2024-01-01 00:00,5\n2024-01-01 01:00,--\n2024-01-01 02:00,6\n2024-01-01 03:00,6\n",
            {},
            "data.missing=['--']",
        ),
        (
            "2024-01-01 00:00,103,63\n2024-01-01 01:00,101,43\n",
            {},
            "data row 1 has 3 cells, the header has 2",
        ),
        ("2024-01-01 00:00,1\n2024-01-01 01:00,2,3\n", {}, "data row 2 has 3 cells"),
        ("2024-01-01 00:00,1\n", {"timestamp": ["timestamp", "load", "x"]}, "no column 'x'"),
        (
            "2024-01-01 00:00,1\n",
            {"target": "demand"},
            "no column 'demand'; there are timestamp, load",
        ),
        ("2024-01-01 00:00,1\n", {"id": "B"}, "data.id=B: no such value in columns load"),
    ],
)
def test_what_is_unclear_is_refused_with_its_cure(tmp_path, content, options, expected):
    assert expected in refused(read, text(tmp_path, f"timestamp,load\n{content}"), **options)


@pytest.mark.parametrize(
    ("content", "reading", "expected"),
    [
        ("timestamp,load\n01/02/2024 00:00,1\n", Reading(dayfirst=True), ["2024-02-01"]),
        ("timestamp,load\n01/02/2024 00:00,1\n", Reading(dayfirst=False), ["2024-01-02"]),
        ("timestamp,load\n01/02/2024 00:00,1\n", Reading(seen_dayfirst=True), ["2024-02-01"]),
    ],
)
def test_an_option_or_an_earlier_file_decides(tmp_path, content, reading, expected):
    found = read(text(tmp_path, content), reading)
    assert [f"{time:%Y-%m-%d}" for time in found.frame.index] == expected


@pytest.mark.parametrize("written", ["-999", "-999.0"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_number_may_stand_for_a_missing_value(tmp_path, written, suffix):
    table = pd.DataFrame({"time": pd.date_range("2024-01-01", periods=9, freq="h"), "load": 5.0})
    table.loc[3, "load"] = -999
    path = tmp_path / f"load.{suffix}"
    getattr(table, f"to_{suffix}")(path, index=False)
    found = read(path, Reading(missing=["-999.0"] if suffix == "csv" else [written]))
    assert found.frame["target"].isna().tolist() == [i == 3 for i in range(9)]


def test_a_file_without_a_header_asks_for_names(tmp_path):
    path = text(tmp_path, "2024-01-01 00:00,5,1\n2024-01-01 01:00,6,2\n")
    assert "data.columns=[column1,column2,column3]" in refused(read, path)
    found = read(path, Reading(columns=["time", "load", "wind"]), target="load")
    assert list(found.frame["target"]) == [5, 6]
    assert "data.columns names 2 columns, the first row has 3" in refused(
        read, path, Reading(columns=["time", "load"])
    )


def test_weekdays_alone(tmp_path):
    days = pd.bdate_range("2020-01-01", periods=400)
    found = series(write(tmp_path, days))
    assert (found.weekdays, found.horizon) == (True, 5)
    assert "weekends, which have no rows, left out of training and scores" in found.account
    origins = found.origins(*found.bounds("train"))
    assert (origins.day_of_week == 0).all()
    assert len(origins) > 40
    # Friday's value stands in for the weekend: that of Monday would be told ahead of time.
    friday, saturday = found.frame["target"]["2020-01-03"], found.frame["target"]["2020-01-04"]
    assert saturday == friday


def test_a_gap_is_named_as_the_user_names_the_column(tmp_path):
    times = pd.date_range("2024-01-01", periods=HOURS, freq="h")
    path = write(tmp_path, times.delete(slice(500, 510)))
    line = refused(series, path)
    assert "10 steps of 'load' are missing from 2024-01-21 20:00:00" in line
    assert "set data.gaps=drop_days" in line
    assert "data.max_gap=10 to interpolate" in line
    assert "10 missing steps in 1 gaps interpolated" in series(path, max_gap=10).account
