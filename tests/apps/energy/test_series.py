from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.energy.calendar import split_days
from apps.energy.series import Series, read_file, read_history, read_parquet
from apps.energy.table import TableOptions
from apps.errors import UserError
from data_scripts.manifest import Dataset, Manifest, sha256


def read_csv(path: Path, target: str, *, val_fraction=0.1, test_fraction=0.15, **options) -> Series:
    known = options.pop("known", "all" if "past" not in options else None)
    options = TableOptions(target=target, known=known, **options)
    return read_file(path, options, val_fraction=val_fraction, test_fraction=test_fraction)


def history(path: Path, target: str, **options) -> Series:
    return read_history(path, TableOptions(target=target, known="all", **options))


def table(days: int = 60, frequency: str = "1h") -> pd.DataFrame:
    times = pd.date_range(
        "2024-01-01",
        periods=int(days * pd.Timedelta("1D") / pd.Timedelta(frequency)),
        freq=frequency,
    )
    load = np.arange(len(times), dtype=float)
    return pd.DataFrame({"timestamp": times, "load": load, "temperature": load % 31})


@pytest.fixture
def write(tmp_path: Path):
    def write(frame: pd.DataFrame | str | bytes) -> Path:
        path = tmp_path / "load.csv"
        if isinstance(frame, pd.DataFrame):
            frame.to_csv(path, index=False)
        else:
            path.write_bytes(frame.encode() if isinstance(frame, str) else frame)
        return path

    return write


def refused(call, *arguments, **options) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("frequency", "steps", "horizon"),
    [("15min", 96, 96), ("30min", 48, 48), ("1h", 24, 24), ("1D", 1, 7)],
)
def test_frequency_is_detected(write, frequency, steps, horizon):
    series = read_csv(write(table(100, frequency)), "load")
    assert series.frequency == pd.Timedelta(frequency)
    assert (series.steps_per_day, series.season_week) == (steps, 7 * steps)
    assert series.horizon == horizon
    assert series.covariates == ("temperature",)
    assert series.account == "no gaps"


def test_splits_are_whole_days_at_the_end(write):
    series = read_csv(write(table(60)), "load", val_fraction=0.1, test_fraction=0.2)
    assert series.end == pd.Timestamp("2024-03-01")
    assert series.test_start == pd.Timestamp("2024-02-18")
    assert series.val_start == pd.Timestamp("2024-02-12")


@given(
    days=st.integers(1, 900),
    val=st.floats(0.01, 0.5),
    test=st.floats(0.01, 0.5),
    step=st.sampled_from(["15min", "1h", "1D"]),
)
def test_splits_leave_enough_everywhere_or_are_refused(days, val, test, step):
    times = pd.date_range("2023-05-05", periods=days, freq="D")
    if step != "1D":
        times = times.append(
            pd.DatetimeIndex([times[-1] + pd.Timedelta("1D") - pd.Timedelta(step)])
        )
    least = 7 if step == "1D" else 1
    try:
        borders = split_days(times, pd.Timedelta(step), val, test, "x.csv")
    except UserError:
        return
    counted = [(b - a).days for a, b in zip([times[0], *borders[:2]], borders, strict=True)]
    assert sum(counted) == days
    assert counted[0] >= 28
    assert min(counted[1:]) >= least


def test_too_short_names_days_found_and_needed(write):
    message = refused(read_csv, write(table(20)), "load")
    assert "20 whole days" in message
    assert "38 are needed" in message  # 28 days of training are 75 % of 37.3
    assert "load.csv" in message


def test_only_named_columns_become_covariates_and_words_none(write):
    frame = table().assign(station="A", holiday="FALSE")
    series = read_csv(write(frame), "load")
    assert series.covariates == ("temperature", "holiday")
    assert (series.frame["holiday"] == 0.0).all()
    assert read_csv(write(frame), "load", known=[]).covariates == ()


def test_utc_offsets_make_one_fixed_clock(write):
    local = pd.date_range("2024-03-01", periods=24 * 60, freq="1h", tz="Europe/Berlin")
    frame = table().assign(timestamp=[t.isoformat() for t in local])
    series = read_csv(write(frame), "load", timezone="Europe/Berlin")
    assert series.utc_offset == "+01:00"
    assert series.frame.index[0] == pd.Timestamp("2024-03-01")
    # Daylight saving began on 31 March 2024: civil time runs an hour ahead of the clock.
    shift = series.civil - series.frame.index
    assert shift[0] == pd.Timedelta(0)
    assert shift[-1] == pd.Timedelta(hours=1)
    assert series.civil[series.frame.index.get_loc("2024-03-31 02:00")].hour == 3


def test_short_gaps_are_interpolated_and_counted(write):
    frame = table().drop(index=[100, 101, 102])
    frame.loc[200, "temperature"] = np.nan
    series = read_csv(write(frame), "load")
    assert "4 missing steps in 2 gaps interpolated, the first at 2024-01-05 04:00" in series.account
    np.testing.assert_allclose(series.frame["target"], np.arange(1440.0))

    assert series.observed.all()


def test_a_long_gap_is_named_or_its_days_are_dropped(write):
    path = write(table().drop(index=range(500, 530)))  # 2024-01-21 20:00 to 01-23 01:00
    message = refused(read_csv, path, "load")
    assert "30 steps of 'load' are missing from 2024-01-21 20:00:00 to 2024-01-23 01:00" in message
    series = read_csv(path, "load", gaps="drop_days")
    dropped = series.frame.index[~series.observed]
    assert dropped[0] == pd.Timestamp("2024-01-21")
    assert dropped[-1] == pd.Timestamp("2024-01-23 23:00")
    # Filled with the values of a week before, so that nothing after the gap is used.
    assert series.frame["target"].iloc[510] == 510 - 168
    origins = series.origins(*series.bounds("train"))
    assert not origins.isin(pd.to_datetime(["2024-01-21", "2024-01-22", "2024-01-23"])).any()
    assert series.account.endswith("3 days left out for 1 longer gaps")


def test_a_gap_of_weeks_is_filled_from_the_last_week_known(write):
    series = read_csv(write(table().drop(index=range(480, 960))), "load", gaps="drop_days")
    weeks_back = (np.arange(480, 960) - 480) // 168 + 1
    expected = np.arange(480, 960) - 168 * weeks_back
    np.testing.assert_allclose(series.frame["target"].iloc[480:960], expected)
    assert (~series.observed).sum() == 480


CSV = table().to_csv(index=False)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("", "the file is empty"),
        ("timestamp,load\n", "a header but no rows"),
        (b"timestamp,load\n2024-01-01,\xff\n", "data row 1: 'ÿ' is not a finite number"),
        ("timestamp,load\n2024-01-01,1\n2024-01-02,1,2,3\n", "data row 2 has 4 cells"),
        ("timestamp,load,load\n2024-01-01,1,2\n", "column 'load' is there twice"),
        ("when,load\nsoon,1\nlater,2\n", "no column of times such as"),
        ("timestamp,demand\n2024-01-01,1\n", "no column 'load'; there are timestamp, demand"),
        (
            CSV.replace("\n2024-01-01 05:00:00,5.0,", "\n2024-01-01 05:00:00,five,"),
            "data row 6: 'five'",
        ),
        (CSV.replace(",10.0,10.0", ",10.0,--"), "'temperature', data row 11: '--'"),
        (CSV.replace(",10.0,10.0", ",inf,10.0"), "'inf' is not a finite number"),
        (CSV.replace(",10.0,10.0", ",1e39,10.0"), "data row 11: '1e39' is not a finite number"),
        ("timestamp,load\n2024-01-01,5\n2024-01-02,5\n", "column 'load' never changes; there is"),
        ("timestamp,load\n2024-01-01,5\n2024-01-08,6\n", "a row each 7 days; the rows must be"),
        (
            CSV.replace("2024-01-01 05:00:00", "01/02/2024 05:00"),
            "'01/02/2024 05:00' is not a time like the others, such as 2024-01-01 00:00:00",
        ),
        (CSV.replace("2024-01-01 05:00:00", ""), "data row 6: an empty cell is not a time"),
        (CSV.replace("2024-01-01 05:00:00", "2024-01-01 05:00:00Z"), "no UTC offset"),
        (CSV.replace("2024-01-01 05:00:00", "2024-01-01 04:00:00"), "is repeated"),
        (CSV.replace("2024-01-01 05:00:00", "2023-01-01 05:00:00"), "rows must be in time order"),
        (CSV.replace("2024-01-01 05:00:00", "2024-01-01 05:01:00"), "not a whole number of steps"),
        (CSV.replace("temperature", "target"), "only the target may be called 'target'"),
        ("timestamp,load\n2024-01-01,1\n", "1 row is too few"),
        ("timestamp,load\n2024-01-01,\n2024-01-02,\n", "the target column is empty"),
        ("timestamp,load\n2024-01-01 00:00,1\n2024-01-01 00:07,1\n", "is neither 15 min"),
        ("timestamp,load\n2024-01-01 00:30,1\n2024-01-01 01:30,2\n", "never fall on midnight"),
    ],
)
def test_flaws_of_a_file_are_one_clear_line(write, content, part):
    message = refused(read_csv, write(content), "load")
    assert part in message
    assert "load.csv" in message


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"known": ["wind"]}, "no column 'wind'; there are timestamp, load, temperature"),
        ({"known": ["load"]}, "named twice"),
        ({"frequency": "often"}, "'often' is not a time step such as 30min"),
        ({"frequency": "7min"}, "is neither 15 min"),
        ({"timezone": "Mars/Base"}, "'Mars/Base' is unknown"),
        ({"timezone": "Mars/Base", "utc_offset": "Z"}, "'Mars/Base' is unknown"),
        ({"timezone": "Europe/Berlin", "utc_offset": "ten"}, "'ten' is not a UTC offset"),
        ({"val_fraction": 0.0}, "both must be above 0"),
        ({"gaps": "ignore"}, "allowed are error and drop_days"),
        ({"max_gap": -1}, "must be 0 or more"),
    ],
)
def test_wrong_options_are_one_clear_line(write, options, part):
    assert part in refused(read_csv, write(table()), "load", **options)


def test_a_missing_file_and_a_folder_are_user_errors(tmp_path):
    assert "no such file" in refused(read_csv, tmp_path / "absent.csv", "load")
    assert "directory" in refused(read_csv, tmp_path, "load").lower()


def test_history_ends_where_the_target_does(write):
    frame = table(60)
    frame.loc[frame.index[-24:], "load"] = np.nan
    series = history(write(frame), "load")
    assert series.test_start == pd.Timestamp("2024-02-29")
    assert series.end == pd.Timestamp("2024-03-01")
    assert series.frame["target"].isna().sum() == 24
    assert series.frame["temperature"].notna().all()
    assert list(series.origins(*series.bounds("test"))) == [series.test_start]


def test_a_future_row_needs_its_covariates(write):
    frame = table(60)
    frame.loc[frame.index[-24:], "load"] = np.nan
    frame.loc[frame.index[-2], "temperature"] = np.nan
    message = refused(history, write(frame), "load", gaps="drop_days")
    assert "'temperature' is missing at 2024-02-29 22:00:00" in message
    empty = table(3).assign(load=np.nan)
    assert "'load' is empty" in refused(history, write(empty), "load")


def test_origins_have_their_history_and_horizon(write):
    series = read_csv(write(table(60)), "load")
    origins = series.origins(series.frame.index[0], series.val_start, 24, 14 * 24)
    assert origins[0] == pd.Timestamp("2024-01-15")
    assert origins[-1] == series.val_start - pd.Timedelta("1D")
    assert series.origins(*series.bounds("test"), horizon=48)[-1] == series.end - pd.Timedelta("2D")
    assert series.positions(origins)[0] == 14 * 24


def prepared(folder: Path) -> Path:
    table(60).to_parquet(folder / "data.parquet", index=False)
    details = {
        "target": "load",
        "covariates": ["temperature"],
        "timezone": None,
        "utc_offset": None,
    }
    splits = {"val_start": "2024-02-10", "test_start": "2024-02-20", "end": "2024-03-01"}
    files = {"data.parquet": sha256(folder / "data.parquet")}
    dataset = Dataset("toy", "energy", (), "CC0", "nobody")
    Manifest(dataset, files, 1440, {}, splits, details).write(folder)
    return folder


def test_prepared_folder_is_read_with_its_splits(tmp_path):
    series = read_parquet(prepared(tmp_path))
    assert isinstance(series, Series)
    assert series.covariates == ("temperature",)
    assert series.test_start == pd.Timestamp("2024-02-20")
    assert series.frame.dtypes.eq(float).all()
    assert read_parquet(tmp_path, covariates=[]).covariates == ()
    assert "no column 'wind'" in refused(read_parquet, tmp_path, covariates=["wind"])


def test_unprepared_or_damaged_folder_tells_what_to_run(tmp_path):
    assert "run gradclip-data app=energy" in refused(read_parquet, tmp_path / "absent")
    (prepared(tmp_path) / "data.parquet").write_bytes(b"half")
    assert "SHA-256" in refused(read_parquet, tmp_path)
