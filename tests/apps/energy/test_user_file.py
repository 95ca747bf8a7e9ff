"""A run forecasts from another file as its training file was read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import TINY, load_table, refused, succeed

QUICK = [*TINY, "training.epochs=1", "app.recalibration_days=0"]


def run_on(folder: Path, table: pd.DataFrame, *options: str, sep: str = ",") -> Path:
    table.to_csv(folder / "train.csv", index=False, sep=sep)
    settings = ["data=csv", f"data.path={folder / 'train.csv'}", *options, *QUICK]
    said = succeed("train", *settings, f"run_dir={folder / 'run'}")
    account = (folder / "run" / "account.txt").read_text()
    assert said.startswith(account), "training begins with the account"
    assert "nan" not in said
    return folder / "run"


def predict(run: Path, table: pd.DataFrame, sep: str = ",") -> tuple[pd.DataFrame, str]:
    folder = run.parent
    table.to_csv(folder / "mine.csv", index=False, sep=sep)
    files = [f"input={folder / 'mine.csv'}", f"output={folder / 'out.csv'}", "overwrite=true"]
    account = succeed("predict", f"run={run}", *files)
    return pd.read_csv(folder / "out.csv", dtype={"timestamp": str}), account


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """A German run: local times with the day first, decimal commas, gaps, a past covariate."""
    table = load_table(24 * 60)
    times = pd.date_range("2024-02-10", periods=len(table), freq="h", tz="Europe/Berlin")
    table["timestamp"] = times.strftime("%d.%m.%Y %H:%M")
    table = table.rename(columns={"timestamp": "Zeit", "load": "Last"})
    for name in ("Last", "temperature"):
        table[name] = table[name].map(lambda x: f"{x:.2f}".replace(".", ","))
    table = table.drop(index=range(300, 315))
    options = ["data.target=Last", "data.timezone=Europe/Berlin", "data.gaps=drop_days"]
    return run_on(tmp_path_factory.mktemp("local"), table, *options, sep=";"), table


def test_gaps_zone_and_decimal_commas_go_from_training_to_prediction(local):
    run, table = local
    found, account = predict(run, table, sep=";")
    assert "1 longer gaps" in account
    assert len(found) == 24
    assert found["timestamp"][0] == "10.04.2024 01:00"
    again, _ = predict(run, table, sep=";")
    pd.testing.assert_frame_equal(found, again)
    assert "account" not in found.columns


def test_a_covariate_of_the_past_needs_no_future_rows(local):
    run, table = local
    shorter, _ = predict(run, table.iloc[:-24], sep=";")
    future = table.copy()
    future.iloc[-24:, 1] = ""
    future.iloc[-24:, 2] = ""
    with_rows, _ = predict(run, future, sep=";")
    pd.testing.assert_frame_equal(shorter, with_rows)
    changed = table.iloc[:-24].copy()
    changed.iloc[-24:, 2] = "35,00"
    other, _ = predict(run, changed, sep=";")
    assert not np.allclose(other["q0.5"], shorter["q0.5"], rtol=1e-6), "the past matters"


def test_the_future_of_a_past_covariate_is_not_seen(local):
    run, table = local
    future = table.copy()
    future.iloc[-24:, 1] = ""
    plain, _ = predict(run, future, sep=";")
    future.iloc[-24:, 2] = "99,00"
    hot, _ = predict(run, future, sep=";")
    pd.testing.assert_frame_equal(plain, hot)


def test_offsets_are_written_as_the_input_has_them(tmp_path):
    table = load_table(24 * 60)
    times = pd.date_range("2024-02-10", periods=len(table), freq="h", tz="Europe/Berlin")
    table["timestamp"] = [time.isoformat() for time in times]
    run = run_on(tmp_path, table, "data.target=load")
    found, _ = predict(run, table)
    assert found["timestamp"][0] == "2024-04-10T01:00:00+02:00"
    utc = table.assign(timestamp=times.tz_convert("UTC").strftime("%Y-%m-%d %H:%M:%S+00"))
    same, _ = predict(run, utc)
    assert same["timestamp"][0] == "2024-04-09 23:00:00+00:00"
    levels = [name for name in found.columns if name.startswith("q")]
    np.testing.assert_allclose(found[levels], same[levels], rtol=1e-5)


def test_weekdays_are_forecast_from_monday_on(tmp_path):
    days = pd.bdate_range("2021-01-01", periods=400)
    load = 100 + 10 * (days.day_of_week == 4) + np.random.default_rng(0).normal(size=400)
    table = pd.DataFrame({"timestamp": days, "load": load.round(3)})
    run = run_on(tmp_path, table)
    last = table[table["timestamp"] <= "2022-06-10"]  # a Friday
    found, _ = predict(run, last)
    expected = pd.bdate_range("2022-06-13", periods=5).strftime("%Y-%m-%d")
    assert list(found["timestamp"]) == list(expected)
    midweek, _ = predict(run, last.iloc[:-2])
    assert list(midweek["timestamp"]) == list(
        pd.bdate_range("2022-06-09", periods=3).strftime("%Y-%m-%d")
    )
    line = refused(
        "train", "data=csv", f"data.path={tmp_path / 'train.csv'}", "app.horizon=7", *QUICK
    )
    assert "no weekends; set app.horizon=5 or less" in line
