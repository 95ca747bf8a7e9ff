"""Which columns of a table are what, and which would tell what is to be forecast."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from apps.energy.series import Series, read_file
from apps.energy.table import TableOptions, read_table
from apps.errors import UserError

HOURS = 24 * 60


def write(folder: Path, times: object, **columns: object) -> Path:
    load = 100 + np.round(10 * np.sin(np.arange(len(times)) / 4.0), 3)  # type: ignore[arg-type]
    table = pd.DataFrame({"timestamp": times, "load": load} | columns)
    table.to_csv(folder / "load.csv", index=False)
    return folder / "load.csv"


def series(path: Path, **options: object) -> Series:
    return read_file(path, TableOptions(**options))


def read(path: Path, **options: object):
    return read_table(path, TableOptions(**options))


def refused(call, *arguments, **options) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_target_may_be_left_out_where_there_is_one_column_of_numbers(tmp_path):
    times = pd.date_range("2024-01-01", periods=48, freq="h")
    assert read(write(tmp_path, times)).columns.target == "load"
    path = write(tmp_path, times, wind=np.arange(48) % 7)
    assert "several columns of numbers (load, wind); name the one to forecast" in refused(
        read, path
    )


def test_a_row_for_each_day_with_its_hours_as_columns_is_named(tmp_path):
    days = pd.date_range("2024-01-01", periods=60, name="day")
    table = pd.DataFrame(np.arange(60 * 24).reshape(60, 24), days, range(1, 25))
    table.to_csv(tmp_path / "load.csv")
    line = refused(series, tmp_path / "load.csv")
    assert "if they are the hours of a day, write them below each other" in line


def test_roles_of_columns(tmp_path):
    times = pd.date_range("2024-01-01", periods=HOURS, freq="h")
    rng = np.random.default_rng(0)
    more = {name: rng.normal(size=HOURS).round(3) for name in ("wind", "sun")}
    path = write(tmp_path, times, **more, note="windy")
    assert series(path, target="load").past_covariates == ("wind", "sun")
    found = series(path, target="load", known=["sun"])
    assert (found.covariates, found.past_covariates) == (("sun",), ("wind",))
    assert "wind used up to the forecast's origin alone; if known ahead: data.known=[wind]" in (
        found.account
    )
    assert "note left out: no numbers" in found.account
    assert series(path, target="load", known="all").covariates == ("wind", "sun")
    found = series(path, target="load", past=[])
    assert (found.covariates, found.past_covariates) == ((), ())
    assert "named twice" in refused(series, path, target="load", known=["sun"], past=["sun"])
    counted = pd.read_csv(path)
    counted.to_csv(path)  # with the index, whose column has no name
    found = series(path, target="load")
    assert found.past_covariates == ("wind", "sun")
    assert "Unnamed: 0 left out: it counts the rows" in found.account


@pytest.mark.parametrize("role", ["known", "past"])
@pytest.mark.parametrize(
    "leak",
    [
        lambda load, noise: load,
        lambda load, noise: 2.5 * load - 7,
        lambda load, noise: -load,
        lambda load, noise: load + 0.005 * load.std() * noise,
        lambda load, noise: np.where(noise > 2.5, np.nan, load / 1000),
    ],
)
def test_a_covariate_that_is_the_target_is_a_leak(tmp_path, role, leak):
    times = pd.date_range("2024-01-01", periods=HOURS, freq="h")
    rng = np.random.default_rng(1)
    load = 100 + 10 * np.sin(np.arange(HOURS) / 4.0) + rng.normal(size=HOURS)
    noise, wind = rng.normal(size=(2, HOURS))
    path = write(tmp_path, times, load=load, copy=leak(load, noise), wind=wind)
    line = refused(series, path, target="load", **{role: ["copy", "wind"]}, gaps="drop_days")
    assert "column 'copy' is the target 'load', or nearly" in line
    assert f"leave it out: data.{role}=[wind]" in line
    assert series(path, target="load", past=["wind"]).past_covariates == ("wind",)


def test_the_target_of_the_next_hours_is_a_leak_and_that_of_yesterday_is_none(tmp_path):
    times = pd.date_range("2024-01-01", periods=HOURS, freq="h")
    load = 100 + np.random.default_rng(1).normal(size=HOURS).cumsum()
    for shift in (-3, 5):
        path = write(tmp_path, times, load=load, copy=np.roll(load, shift))
        assert "leave it out" in refused(series, path, target="load", known=["copy"])
    path = write(tmp_path, times, load=load, copy=np.roll(load, 24))
    assert series(path, target="load", known=["copy"]).covariates == ("copy",)
    forecast = load + 0.1 * load.std() * np.random.default_rng(2).normal(size=HOURS)
    path = write(tmp_path, times, load=load, forecast=forecast)
    assert series(path, target="load", known=["forecast"]).covariates == ("forecast",)
