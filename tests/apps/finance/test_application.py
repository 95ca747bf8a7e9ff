"""Whole runs: training, forecasts that look at nothing but the past, collapse, prediction."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import initialize_config_dir

from apps import CONF
from apps.cli.compose import compose_run
from apps.finance.crash import explain
from apps.finance.crash_figure import training_figures
from apps.finance.data import make_windows
from apps.finance.figures import crisis_windows, figures
from apps.finance.forecast import Forecast
from apps.finance.recalibration import recalibrate
from apps.finance.task import forecast
from apps.report.charts.theme import specification
from apps.report.model.step_records import Records
from apps.run.experiment import Experiment
from tests.apps.finance.prices import price_table, tampered
from tests.apps.runs import metrics, steps
from tests.conftest import refused, succeed
from tests.presets import suited


def parts(small: list[str], *more: str) -> Experiment:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return Experiment(compose_run("finance", [*small, *more]))


@pytest.mark.parametrize(
    "more",
    [
        ["app.loss=student_t", "app.mean=learnt", "app.average_with=har"],
        ["app.loss=quantile", "app.horizon=5"],
        ["app.loss=mse", "app.output=softplus", "app.features.inputs=returns"],
        pytest.param(["app.loss=gaussian", "model=mlp"], marks=pytest.mark.slow),
        pytest.param(["app.loss=qlike", "app.horizon=22"], marks=pytest.mark.slow),
        pytest.param(["app.average_with=gjr_garch_t", "model=gru"], marks=pytest.mark.slow),
        pytest.param(
            ["split=walk_forward", "split.years=1", "split.val_years=1", "training.epochs=6"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_every_task_trains_and_is_scored(small, tmp_path, more):
    succeed("train", *small, *more, f"run_dir={tmp_path / 'run'}")
    record = metrics(tmp_path / "run")
    assert record["status"] == "completed"
    known = {name: value for name, value in record["test"].items() if value is not None}
    blank = (
        {"direction", "direction_margin"}
        if more[0] != "app.loss=quantile" and "app.mean=learnt" not in more
        else set()
    )
    assert set(record["test"]) - set(known) == blank
    assert 0.2 < np.sqrt(Forecast.from_frame(read(tmp_path / "run")).variance).mean() < 20


def read(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "predictions.parquet")


@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("loss", ["student_t", "quantile"])
def test_the_future_moves_no_forecast_of_the_network(small, loss, horizon):
    made = parts(small, f"app.loss={loss}", f"app.horizon={horizon}", "app.mean=learnt")
    torch.nn.init.normal_(made.task.net.readout.output.weight, std=0.3)
    data, at = made.data, 300
    rows = np.arange(500, 1000)
    whole = []
    for panel in (data.panel, tampered(data.panel, rows[at])):
        windows = make_windows(panel, data.encoding, rows)
        raw = forecast(made.task, data.encoding, panel, windows, rows)
        whole.append(recalibrate(raw, 250))
    for field in ("mean", "variance", "quantiles", "shortfall"):
        before, after = (getattr(one, field) for one in whole)
        np.testing.assert_array_equal(before[: at + 1], after[: at + 1])
        assert (before[at + 1 :] != after[at + 1 :]).all(axis=tuple(range(1, before.ndim))).any()


def test_training_windows_end_before_validation(small):
    data = parts(small, "app.horizon=5").data
    rows = data.origins("train")
    assert data.panel.dates[rows[-1] + 5] < data.panel.val_start
    assert rows[0] == data.encoding.history


def test_batches_are_those_that_training_sees(small):
    data = parts(small).data
    loader = data.train_dataloader()
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)
        drawn = data.batches(epoch)
        seen = list(loader)
        assert len(drawn) == len(seen) == 2
        for (rows, assets), (_, _, returns) in zip(drawn, seen, strict=True):
            expected = data.panel.targets(1)[0][rows, assets]
            np.testing.assert_allclose(returns[:, 0].numpy(), expected, rtol=1e-6)


def record_of(data, num_steps: int, worst: int) -> pd.DataFrame:
    norm = np.ones(num_steps)
    norm[worst] = 50.0
    epochs = np.arange(num_steps) // 2 + 1
    columns = {"step": np.arange(num_steps), "epoch": epochs, "loss": 1.0, "norm": norm}
    return pd.DataFrame(columns).assign(coefficient=1 / norm, threshold=1.0)


def test_a_collapse_is_traced_to_its_day(small):
    data = parts(small).data
    rows, _ = data.batches(2)[1]  # step 5 of two a day
    day = rows[3]
    data.panel.returns[day + 1] = -22.9
    line = explain(data, record_of(data, 8, worst=5), 7)
    date = data.panel.dates[day + 1]
    assert "collapsed at step 7" in line
    assert f"step 5, norm 50 (median 1), from a batch with {date:%Y-%m-%d} (return -22.9 %)" in line
    assert "broke at step 7" in explain(data, record_of(data, 8, 5).assign(loss=math.inf), 7)
    assert explain(data, record_of(data, 8, 5).assign(norm=math.nan), 7) is None


def test_a_dead_forecast_is_a_divergence(small, tmp_path):
    # A step this size sends the output where softplus is flat; the loss stays finite.
    run = tmp_path / "run"
    settings = ["experiment=crash1987", "clipping=none", "optimizer.lr=3", "app.batch_size=16"]
    settings += ["training.epochs=4", "app.samples_per_epoch=512", "app.features.lookback=10"]
    succeed("train", *small, *settings, f"run_dir={run}")
    record = metrics(run)
    assert record["status"] == "diverged"
    assert np.isfinite(steps(run)["loss"]).all()
    assert "the forecast collapsed at step" in record["error"]


@pytest.mark.parametrize("loss", ["student_t", "gaussian", "qlike", "quantile"])
def test_an_overflow_is_a_divergence_without_a_score(small, tmp_path, loss):
    run = tmp_path / "run"
    settings = ["clipping=none", "optimizer=sgd", "optimizer.lr=1e30", f"app.loss={loss}"]
    succeed("train", *small, *settings, "optimization.schedule=constant", f"run_dir={run}")
    assert metrics(run)["status"] == "diverged"
    assert metrics(run)["test"]["qlike"] is None


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in CONF.glob("clipping/*.yaml")))
def test_every_strategy_trains(small, tmp_path, name):
    run = tmp_path / "run"
    succeed("train", *small, *suited(name), "training.epochs=1", f"run_dir={run}")
    assert metrics(run)["clipping"] == name
    assert len(steps(run)) == 2


def test_the_figures_show_what_they_say(ready, small):
    forecasts = {"none": read(ready), "gjr_garch_t": read(ready), "riskmetrics": read(ready)}
    drawn = figures({name: Forecast.from_frame(frame) for name, frame in forecasts.items()}, 1)
    assert [figure.name for figure in drawn] == [
        "volatility",
        "risk_band",
        "pit",
        "diebold_mariano",
    ]
    for figure in drawn:
        assert specification(figure.chart)["background"] == "transparent"
    assert figures({"garch": Forecast.from_frame(read(ready))}, 1) == []
    data = parts(small).data
    found = record_of(data, 8, 5).assign(clipping="global_norm", seed=0, status="completed")
    (figure,) = training_figures(data, Records(found, pd.DataFrame()))
    assert "global_norm cut away" in figure.caption
    assert training_figures(data, Records(found.iloc[:0], pd.DataFrame())) == []


def test_crises_are_the_worst_half_years_in_order():
    realised = pd.Series(np.ones(2000))
    realised[1500:1626] = 9.0
    realised[300:426] = 5.0
    windows = crisis_windows(realised)
    assert (300, 426) in windows
    assert (1500, 1626) in windows
    assert windows == sorted(windows)
    assert crisis_windows(realised[:200]) == []


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
        (["app.horizon=5", "app.loss=quantile"], 1e-4),
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
    assert "returns from 'last'" in account


def test_a_short_history_is_not_recalibrated(ready, tmp_path):
    found, account = predict(ready, price_table().iloc[-200:], tmp_path)
    assert found["var_1"] < 0
    assert "not recalibrated: that needs 135 more days of history" in account


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda t: t.iloc[::-1], "rows must be in order"),
        (lambda t: t.iloc[[0, 0, 1]], "a date is repeated"),
        (lambda t: t.assign(close=-t["close"]), "is not above 0"),
        (lambda t: t.assign(close=t["close"].where(t.index != 7)), "row 8: is empty"),
        (lambda t: t.assign(close=5.0, high=5.0, low=5.0), "the close never changes"),
        (lambda t: t.iloc[:84], "84 rows of prices; a forecast needs 85"),
        (lambda t: t[["date", "close"]], "no columns 'high' and 'low'"),
    ],
)
def test_a_file_that_cannot_be_forecast_from(ready, empty_folder, spoil, expected):
    spoil(price_table()).to_csv("mine.csv", index=False)
    line = refused("predict", f"run={ready}", "input=mine.csv", "output=out.csv")
    assert expected in line


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda t: t.iloc[:310], "310 days are too few: the lookback is 20 days"),
        (lambda t: t.iloc[:550], "too short a series: 272 days to train on; at least 300"),
        (lambda t: t.iloc[::-1], "rows must be in order"),
        (lambda t: t.iloc[[0, 0, 1]], "a date is repeated"),
        (lambda t: t.assign(close=-t["close"]), "row 1: -100"),
        (lambda t: t.reindex([*range(7), -1, *range(8, len(t))]), "data row 8: is empty"),
        (lambda t: t.assign(close=5.0), "the close never changes"),
    ],
)
def test_a_series_that_cannot_be_trained_on(small, empty_folder, spoil, expected):
    spoil(price_table()).to_csv("bad.csv", index=False)
    assert expected in refused("train", *small, "data.path=bad.csv", "run_dir=r")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("app.loss=hinge", "app.loss='hinge'"),
        ("app.output=tanh", "app.output='tanh'"),
        ("app.mean=high", "app.mean='high'"),
        ("app.mean=learnt app.loss=qlike", "mean=learnt: loss=qlike trains no mean"),
        ("app.horizon=2", "app.horizon=2"),
        ("app.batch_size=0", "batch_size=0"),
        ("app.recalibration_days=100", "recalibration_days must be 0 or >= 250, got 100"),
        ("app.average_with=garch", "app.average_with='garch'"),
        ("app.refit_years=-1", "refit_years must be null or >= 0, got -1"),
        ("app.features.lookback=0", "lookback must be >= 1, got 0"),
        ("app.features.inputs=all", "app.features.inputs='all'"),
        ("split.val_start=soon", "val_start must be a date such as 2005-01-01, got 'soon'"),
        ("split=walk_forward split.block=-1", "block=-1"),
        ("split=walk_forward split.block=9", "split.block=9: there are 1 blocks"),
        ("split=nonsense", "split=nonsense: unknown; known: fixed, walk_forward"),
        ("experiment=nonsense", "experiment=nonsense: unknown; known: crash1987"),
        ("data.test_fraction=0.9", "test_fraction=0.9"),
        ("data.close=price", "no column 'price'"),
        ("data.path=none.csv", "none.csv: no such file"),
        ("model.hidden_size=0", "hidden_size must be >= 1"),
    ],
)
@pytest.mark.usefixtures("empty_folder")
def test_values_that_cannot_work(small, override, expected):
    assert expected in refused("train", *small, *override.split(), "run_dir=r")


def test_a_comparison_ends_with_a_report(small, tmp_path, monkeypatch):
    # In this process, without the start of another.
    pool = ThreadPoolExecutor(1)
    monkeypatch.setattr("apps.grid.local.ProcessPoolExecutor", lambda jobs, **_: pool)
    out = succeed("compare", *small, "seeds=1", "jobs=1", f"output_dir={tmp_path}")
    assert "report: " in out
    text = (tmp_path / "report.md").read_text()
    for name in ("riskmetrics", "historical_simulation", "garch", "gjr_garch_t", "egarch_t", "har"):
        assert f"| {name} |" in text
    assert "Returns are close to unpredictable" in text
    assert "QLIKE: Diebold-Mariano tests" in text
    for name in ("volatility", "risk_band", "pit", "diebold_mariano", "clipped_days"):
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 5000
