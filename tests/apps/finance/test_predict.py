"""Forecasts from a file of prices."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from tests.apps.finance.prices import price_table
from tests.apps.finance.runs import read
from tests.conftest import refused, succeed


def predict(run: Path, table: pd.DataFrame, folder: Path) -> tuple[pd.Series, str]:
    table.to_csv(folder / "mine.csv", index=False)
    arguments = [f"run={run}", f"input={folder / 'mine.csv'}", f"output={folder / 'out.csv'}"]
    account = succeed("predict", *arguments, "overwrite=true")
    return pd.read_csv(folder / "out.csv").iloc[0], account


def test_a_prediction_equals_the_one_of_the_test_day(ready, tmp_path):
    expected = read(ready).iloc[100]
    table = price_table()
    found, account = predict(ready, table[table["date"] <= expected["origin"]], tmp_path)
    assert found["after"] == f"{expected['origin']:%Y-%m-%d}"
    assert found["days"] == 1
    assert found["volatility"] == pytest.approx(math.sqrt(expected["variance"]), rel=1e-4)
    for mine, theirs in {
        "var_1": "q0.01",
        "es_1": "es0.01",
        "var_5": "q0.05",
        "es_5": "es0.05",
    }.items():
        assert found[mine] == pytest.approx(expected[theirs], rel=1e-4)
    assert found["es_1"] < found["var_1"] < found["var_5"] < 0
    assert "recalibrated on 300 forecasts before" in account


@pytest.mark.parametrize(
    ("more", "tolerance"),
    [
        # Softplus: untrained it forecasts any variance, so that a step of training improves on it.
        (["app.horizon=5", "app.loss=quantile", "app.output=softplus"], 1e-4),
        # HAR is fitted on another stretch of days for each of the two.
        (["app.horizon=5", "app.average_with=har"], 0.15),
    ],
)
def test_a_prediction_over_a_week_equals_the_one_of_the_test(small, tmp_path, more, tolerance):
    settings = ["app.recalibration_days=300", "data.val_fraction=0.25", "training.epochs=1"]
    run = tmp_path / "run"
    succeed("train", *small, *settings, *more, f"run_dir={run}")
    expected, table = read(run).iloc[100], price_table()
    found, _ = predict(run, table[table["date"] <= expected["origin"]], tmp_path)
    assert (found["after"], found["days"]) == (f"{expected['origin']:%Y-%m-%d}", 5)
    assert found["volatility"] == pytest.approx(math.sqrt(expected["variance"]), rel=tolerance)
    assert found["var_1"] == pytest.approx(expected["q0.01"], rel=tolerance)
    assert found["es_5"] == pytest.approx(expected["es0.05"], rel=tolerance)


def test_columns_are_named_as_in_training(small, tmp_path):
    table = price_table().rename(columns={"date": "Day", "close": "Last"})
    table.to_csv(tmp_path / "named.csv", index=False)
    names = [f"data.path={tmp_path / 'named.csv'}", "data.date=day", "data.close=Last"]
    run = tmp_path / "run"
    succeed("train", *small, *names, "training.epochs=1", f"run_dir={run}")
    found, account = predict(run, table, tmp_path)
    assert found["after"] == f"{table['Day'].iloc[-1]:%Y-%m-%d}"
    assert "returns from 'Last'" in account


def test_a_short_history_is_not_recalibrated(ready, tmp_path):
    found, account = predict(ready, price_table().iloc[-200:], tmp_path)
    assert found["var_1"] < 0
    assert "not recalibrated: that needs 135 more days of history" in account


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda t: t.iloc[[1, 0, *range(2, len(t))]], "rows must be in time order"),
        (lambda t: t.iloc[[0, 0, 1]], "is repeated (data row 1 has it, too)"),
        (lambda t: t.assign(close=-t["close"]), "is not above 0"),
        (lambda t: t.assign(close=t["close"].where(t.index != 7)), "row 8: is empty"),
        (
            lambda t: t.assign(close=t["close"].where(t.index < 700, t["close"] / 4)),
            "options of the training, which the run keeps: mend the file",
        ),
        (lambda t: t.assign(close=5.0, high=5.0, low=5.0), "the close never changes"),
        (lambda t: t.iloc[:84], "84 rows of prices; a forecast needs 85"),
        (lambda t: t[["date", "close"]], "no columns 'high' and 'low'"),
    ],
)
def test_a_file_that_cannot_be_forecast_from(ready, empty_folder, spoil, expected):
    spoil(price_table()).to_csv("mine.csv", index=False)
    line = refused("predict", f"run={ready}", "input=mine.csv", "output=out.csv")
    assert expected in line
