"""Windows, splits and whole runs for series of several steps and numbers of covariates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from apps.energy.data import SeriesData
from apps.energy.encoding import Features
from apps.energy.sources import Csv
from tests.apps.runs import metrics
from tests.conftest import TINY, load_table, refused, succeed


def make(path: Path, **options: object) -> SeriesData:
    data = SeriesData(
        Csv(str(path), "load", **options.pop("source", {})),
        Features(),
        batch_size=16,
        samples_per_epoch=48,
        seed=0,
        **options,
    )
    data.prepare_data()
    data.setup("fit")
    return data


def test_training_windows_end_before_validation(load_csv):
    data = make(load_csv)
    ends = data.series.frame.index[data.training_rows() + data.encoding.horizon - 1]
    assert ends.max() == data.series.val_start - data.series.frequency
    assert data.training_rows()[0] == data.inputs.first


def test_origins_are_the_midnights_of_their_part(load_csv):
    data = make(load_csv)
    for part in ("train", "val", "test"):
        origins = data.origins(part)
        start, end = data.series.bounds(part)
        assert (origins == origins.normalize()).all()
        assert origins.min() >= start
        assert origins.max() + pd.Timedelta(days=1) == end
        line = data.account.lines[part]
        assert (
            line
            == f"{len(origins)} days to forecast from, {start} to {end - data.series.frequency}"
        )


def test_dropped_days_are_no_targets(tmp_path):
    table = load_table()
    table.loc[24 * 30 + 5 : 24 * 30 + 20, "load"] = np.nan
    table.to_csv(tmp_path / "gap.csv", index=False)
    data = make(tmp_path / "gap.csv", source={"gaps": "drop_days"})
    gap = np.arange(24 * 30, 24 * 31)
    windows = data.training_rows()[:, None] + np.arange(24)
    assert not np.isin(windows, gap).any()
    assert np.isin(24 * 29, data.training_rows())
    assert np.isin(24 * 31, data.training_rows())


def test_batches_are_the_windows_of_the_series(load_csv):
    data = make(load_csv)
    batches = list(data.train_dataloader())
    assert [len(batch[0]) for batch in batches] == [16, 16, 16]
    target = data.inputs.target
    windows = {target[row : row + 24].tobytes() for row in data.training_rows()}
    for _, _, found in batches:
        assert found.dtype == torch.float32
        assert {row.numpy().tobytes() for row in found} <= windows
    (validation,) = data.val_dataloader()
    rows = data.series.positions(data.origins("val"))
    np.testing.assert_array_equal(validation[2], target[rows[:, None] + np.arange(24)])


def test_fingerprint_follows_values_splits_and_horizon(load_csv, tmp_path):
    prints = [
        make(load_csv).fingerprint,
        make(load_csv, horizon=12).fingerprint,
        make(load_csv, source={"val_fraction": 0.2}).fingerprint,
        make(load_csv, source={"past": []}).fingerprint,
    ]
    table = load_table()
    table.loc[7, "load"] += 0.001
    table.to_csv(tmp_path / "other.csv", index=False)
    prints.append(make(tmp_path / "other.csv").fingerprint)
    assert len(set(prints)) == len(prints)
    assert make(load_csv).fingerprint == prints[0]


def _table(frequency: str, days: int, covariates: int) -> pd.DataFrame:
    table = load_table(int(days * pd.Timedelta("1D") / pd.Timedelta(frequency)), frequency)
    table["wind"] = np.cos(np.arange(len(table)))
    return table[["timestamp", "load", "temperature", "wind"][: 2 + covariates]]


@pytest.mark.usefixtures("quick_baselines")
@pytest.mark.parametrize(
    ("frequency", "days", "covariates", "more"),
    [
        ("1D", 200, 0, []),
        pytest.param("15min", 45, 2, [], marks=pytest.mark.slow),
        pytest.param(
            "1h", 60, 0, ["app.horizon=48", "app.recalibration_days=0"], marks=pytest.mark.slow
        ),
        pytest.param(
            "1h", 60, 2, ["app.horizon=6", "app.features.lookback_days=3"], marks=pytest.mark.slow
        ),
        pytest.param("1h", 70, 1, ["app.loss=mse"], marks=pytest.mark.slow),
    ],
)
def test_other_series_work_from_end_to_end(tmp_path, frequency, days, covariates, more):
    table = _table(frequency, days, covariates)
    table.to_csv(tmp_path / "load.csv", index=False)
    run = tmp_path / "run"
    settings = ["data=csv", f"data.path={tmp_path / 'load.csv'}", "data.target=load", *TINY]
    # So few days that the run's own forecasts and those of `predict` rest on the same ones.
    settings += ["app.recalibration_days=7", *more]
    succeed("train", *settings, "training.epochs=1", f"run_dir={run}")
    assert metrics(run)["test"]["coverage_80"] is not None
    assert "seasonal_naive_week" in succeed("evaluate", f"run={run}")

    kept = pd.read_parquet(run / "predictions.parquet")
    origin = kept["origin"].iloc[-1]
    horizon = int((kept["origin"] == origin).sum())
    table.loc[table["timestamp"] >= origin, "load"] = np.nan
    table[
        table["timestamp"] < origin + horizon * (table["timestamp"][1] - table["timestamp"][0])
    ].to_csv(tmp_path / "mine.csv", index=False)
    succeed(
        "predict", f"run={run}", f"input={tmp_path / 'mine.csv'}", f"output={tmp_path / 'out.csv'}"
    )
    found = pd.read_csv(tmp_path / "out.csv")
    assert len(found) == horizon
    expected = kept[kept["origin"] == origin]
    levels = [name for name in kept.columns if name.startswith("q")]
    np.testing.assert_allclose(found[levels], expected[levels], rtol=2e-5)


def test_daily_history_too_short_is_told(empty_folder):
    _table("1D", 40, 1).to_csv("load.csv", index=False)
    line = refused("train", "data=csv", "data.path=load.csv", "data.target=load", *TINY)
    assert "40 whole days of 1 day steps are too few" in line
