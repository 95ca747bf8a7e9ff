"""Whole runs: training, forecasts that look at nothing but the past, values that cannot work."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from apps import CONF
from apps.finance.data import make_windows
from apps.finance.forecast import Forecast
from apps.finance.recalibration import recalibrate
from apps.finance.task import forecast
from tests.apps.finance.prices import price_table, tampered
from tests.apps.finance.runs import parts, read
from tests.apps.runs import metrics, steps
from tests.conftest import refused, succeed
from tests.presets import suited
from tests.thinned import thinned


@pytest.mark.parametrize(
    "more",
    [
        ["app.loss=student_t", "app.mean=learnt", "app.average_with=har"],
        ["app.loss=quantile", "app.horizon=5"],
        ["model=har_gjr_residual", "app.horizon=22"],
        ["model=har_gjr_residual", "app.loss=quantile"],
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
        if "app.loss=quantile" not in more and "app.mean=learnt" not in more
        else set()
    )
    assert set(record["test"]) - set(known) == blank
    assert 0.2 < np.sqrt(Forecast.from_frame(read(tmp_path / "run")).variance).mean() < 20


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


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in CONF.glob("clipping/*.yaml")))
def test_every_strategy_trains(small, tmp_path, name):
    run = tmp_path / "run"
    succeed("train", *small, *suited(name), "training.epochs=1", f"run_dir={run}")
    assert metrics(run)["clipping"] == name
    assert len(steps(run)) == 2


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda t: t.iloc[:310], "310 days are too few: the lookback is 20 days"),
        (lambda t: t.iloc[:550], "too short a series: 272 days to train on; at least 300"),
        (lambda t: t.iloc[[1, 0, *range(2, len(t))]], "rows must be in time order"),
        (lambda t: t.iloc[[0, 0, 1]], "is repeated (data row 1 has it, too)"),
        (lambda t: t.assign(close=-t["close"]), "row 1: -100"),
        (lambda t: t.assign(close=t["close"].where(t.index != 7)), "data row 8: is empty"),
        (lambda t: t.assign(close=5.0), "the close never changes"),
    ],
)
def test_a_series_that_cannot_be_trained_on(small, empty_folder, spoil, expected):
    spoil(price_table()).to_csv("bad.csv", index=False)
    assert expected in refused("train", *small, "data.path=bad.csv", "run_dir=r")


@pytest.mark.parametrize(
    ("override", "expected"),
    thinned(
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
        2,
    ),
)
@pytest.mark.usefixtures("empty_folder")
def test_values_that_cannot_work(small, override, expected):
    assert expected in refused("train", *small, *override.split(), "run_dir=r")


@pytest.mark.usefixtures("in_process")
def test_a_comparison_ends_with_a_report(small, tmp_path):
    out = succeed("compare", *small, "seeds=1", "jobs=1", f"output_dir={tmp_path}")
    assert "report: " in out
    text = (tmp_path / "report.md").read_text()
    for name in ("riskmetrics", "historical_simulation", "garch", "gjr_garch_t", "egarch_t", "har"):
        assert f"| {name} |" in text
    assert "Returns are close to unpredictable" in text
    assert "QLIKE: Diebold-Mariano tests" in text
    for name in ("volatility", "risk_band", "pit", "diebold_mariano", "clipped_days"):
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 5000
