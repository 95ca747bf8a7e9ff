"""Collapsed and overflowing trainings: they count as diverged, and the day that did it is named."""

from __future__ import annotations

import math

import numpy as np
import pytest

from apps.finance.crash import explain
from tests.apps.finance.runs import parts, record_of
from tests.apps.runs import metrics, steps
from tests.conftest import succeed


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
