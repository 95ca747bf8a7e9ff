"""Evaluating a trained run again, and forecasting the user's own file with it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.apps.runs import metrics
from tests.conftest import TINY, load_table, refused, succeed

LEVELS = [f"q{level / 10:g}" for level in range(1, 10)]


@pytest.fixture(scope="module")
def raw(tiny, tmp_path_factory) -> Path:
    """A run whose forecasts are not recalibrated."""
    path = tmp_path_factory.mktemp("raw") / "run"
    succeed("train", *tiny, "app.recalibration_days=0", f"run_dir={path}")
    return path


@pytest.fixture(scope="module")
def alone(tiny, tmp_path_factory) -> Path:
    """A run without covariates."""
    path = tmp_path_factory.mktemp("alone") / "run"
    succeed("train", *tiny, "data.known=[]", "data.past=[]", f"run_dir={path}")
    return path


def cut(origin: str, future: int = 24) -> pd.DataFrame:
    """The table up to `origin`, and after it `future` hours without load."""
    table = load_table()
    first = int(np.flatnonzero(table["timestamp"] >= origin)[0])
    table.loc[first:, "load"] = np.nan
    return table.iloc[: first + future]


def predict(run: Path, table: pd.DataFrame, folder: Path, *more: str) -> tuple[pd.DataFrame, str]:
    table.to_csv(folder / "mine.csv", index=False)
    arguments = [f"run={run}", f"input={folder / 'mine.csv'}", f"output={folder / 'out.csv'}"]
    account = succeed("predict", *arguments, *more)
    return pd.read_csv(folder / "out.csv", parse_dates=["timestamp"]), account


def at(run: Path, origin: str) -> pd.DataFrame:
    """What a run forecast from a test origin when it was trained."""
    frame = pd.read_parquet(run / "predictions.parquet")
    return frame[frame["origin"] == origin].reset_index(drop=True)


@pytest.mark.usefixtures("quick_baselines")
def test_evaluate_prints_the_scores_of_the_training(trained, tmp_path):
    run = Path(shutil.copytree(trained, tmp_path / "mine"))
    out = succeed("evaluate", f"run={run}")
    row = next(line for line in out.splitlines() if line.startswith("mine "))
    scored = metrics(run)["test"]
    order = ["wql", "mape", "wape", "mase", "mae", "rmse", "pinball", "coverage_80"]
    digits = [2, 2, 2, 3, 4, 4, 4, 1]
    expected = [f"{scored[name]:.{n}f}" for name, n in zip(order, digits, strict=True)]
    assert row.split()[1:9] == expected
    assert {"seasonal_naive_day", "ridge"} <= set(re.findall(r"^\w+", out, re.MULTILINE))
    again = succeed("evaluate", f"run={run}", "baselines=false")
    assert row.split() in [line.split() for line in again.splitlines()]
    assert not re.findall(r"^ridge", again, re.MULTILINE)
    assert succeed("evaluate", f"run={run}", "app=energy") == out, "kept baselines score the same"


def test_forecast_equals_the_one_on_the_test_day(raw, trained, tmp_path):
    for run in (raw, trained):
        origin = "2024-03-20"
        found, account = predict(run, cut(origin), tmp_path, "overwrite=true")
        expected = at(run, origin)
        assert list(found.columns) == ["timestamp", *LEVELS]
        assert list(found["timestamp"]) == list(expected["timestamp"])
        np.testing.assert_allclose(found[LEVELS], expected[LEVELS], rtol=2e-5)
        assert f"forecast from {origin} 00:00:00" in account
        assert ("not recalibrated" in account) == (run == raw)
    assert "recalibrated on 14 forecasts before" in account


def test_forecasts_rise_with_the_quantile_from_any_hour(trained, tmp_path):
    found, _ = predict(trained, cut("2024-02-11 17:00"), tmp_path)
    assert (np.diff(found[LEVELS], axis=1) >= 0).all()
    assert found["timestamp"][0] == pd.Timestamp("2024-02-11 17:00")
    assert len(found) == 24


def test_rows_beyond_the_horizon_change_nothing(raw, tmp_path):
    short, _ = predict(raw, cut("2024-02-11"), tmp_path)
    longer, _ = predict(raw, cut("2024-02-11", future=100), tmp_path, "overwrite=true")
    pd.testing.assert_frame_equal(short, longer)


def test_covariates_of_the_future_matter(raw, tmp_path):
    table = cut("2024-02-11")
    cool, _ = predict(raw, table, tmp_path)
    table.loc[len(table) - 24 :, "temperature"] += 30
    hot, _ = predict(raw, table, tmp_path, "overwrite=true")
    assert (hot["q0.5"] != cool["q0.5"]).all()


def test_without_covariates_no_future_rows_are_needed(alone, tmp_path):
    table = cut("2024-02-11", future=0)[["timestamp", "load"]]
    found, _ = predict(alone, table, tmp_path)
    with_rows, _ = predict(alone, cut("2024-02-11"), tmp_path, "overwrite=true")
    pd.testing.assert_frame_equal(found, with_rows)
    assert list(found["timestamp"]) == list(
        pd.date_range("2024-02-11", periods=24, freq="h").as_unit("us")
    )


def test_other_columns_and_their_order_do_not_matter(raw, tmp_path):
    table = cut("2024-02-11")
    plain, _ = predict(raw, table, tmp_path)
    more = table.assign(wind=1.0, note="windy")[
        ["note", "temperature", "wind", "load", "timestamp"]
    ]
    found, _ = predict(raw, more, tmp_path, "overwrite=true")
    pd.testing.assert_frame_equal(found, plain)


def test_the_training_file_is_not_needed(tmp_path):
    csv = tmp_path / "gone.csv"
    load_table().to_csv(csv, index=False)
    run = tmp_path / "run"
    succeed("train", "data=csv", f"data.path={csv}", "data.target=load", *TINY, f"run_dir={run}")
    csv.unlink()
    found, _ = predict(run, cut("2024-02-11"), tmp_path)
    assert np.isfinite(found[LEVELS]).all(axis=None)


def test_little_history_is_enough_without_recalibration(trained, tmp_path):
    found, account = predict(trained, cut("2024-02-11").iloc[-24 * 15 :], tmp_path)
    assert len(found) == 24
    assert "not recalibrated: that needs 7 more days of history" in account
    found, account = predict(
        trained, cut("2024-02-11").iloc[-24 * 22 :], tmp_path, "overwrite=true"
    )
    assert "recalibrated on 7 forecasts before" in account


def test_a_text_is_not_for_this_application(trained, empty_folder):
    assert "app=energy reads no text" in refused("predict", f"run={trained}", "text=hello")


def _half_hourly(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(timestamp=pd.date_range("2024-01-01", periods=len(table), freq="30min"))


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda t: t.iloc[-24 * 14 :], "312 rows with a target; a forecast needs the 336 rows"),
        (_half_hourly, "a row each 0 days 00:30:00, but the run has 0 days 01:00:00"),
        (lambda t: t.drop(columns="temperature"), "no column 'temperature'"),
        (lambda t: t.drop(columns="load"), "no column 'load'"),
        (lambda t: t.iloc[:-1], "23 rows after the last known load; the forecast needs 24 rows"),
        (lambda t: t.iloc[:-24], "0 rows after the last known load; the forecast needs 24 rows"),
        (lambda t: t.assign(load=np.nan), "'load' is empty"),
        (lambda t: t.assign(temperature=t["temperature"].where(t.index < len(t) - 3)), "missing"),
    ],
)
def test_a_file_that_does_not_fit(trained, empty_folder, spoil, expected):
    spoil(cut("2024-02-11")).to_csv("mine.csv", index=False)
    line = refused("predict", f"run={trained}", "input=mine.csv", "output=out.csv")
    assert expected in line
