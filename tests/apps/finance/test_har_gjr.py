"""A network that begins as the classical models and learns a bounded correction."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from apps.finance.baselines import BASELINES, Plan
from apps.finance.data import make_windows
from apps.finance.features import Encoding
from apps.finance.har import DAYS
from apps.finance.har_gjr import LEAST_FITTED, Refits, classical_variance
from apps.finance.recalibration import recalibrate
from apps.finance.task import forecast
from tests.apps.finance.prices import make, price_table, tampered
from tests.apps.finance.runs import parts, read
from tests.apps.run.test_resume import Killed, interrupted
from tests.apps.runs import assert_same_run
from tests.conftest import refused, succeed

MODEL = "model=har_gjr_residual"
REFITS = Refits("2015-01-01", "2018-01-01", "2019-01-01", 1)


def starts(panel, refits: Refits = REFITS) -> list[str]:
    return [f"{panel.dates[row + 1]:%Y-%m-%d}" for row in refits.starts(panel, 1)]


def test_the_models_are_fitted_on_training_days_and_then_every_so_many_years():
    panel = make()  # business days from 2015-01-01 to 2020-05-13
    assert starts(panel) == ["2018-01-01", "2019-01-01", "2020-01-01"]
    assert starts(panel, replace(REFITS, years=0)) == ["2018-01-01"]
    assert starts(panel, Refits("2015-01-01", "2017-01-02", "2020-01-01", 2)) == [
        "2017-01-02",
        "2018-01-01",
        "2020-01-01",
    ]


def test_a_file_of_other_days_is_fitted_where_there_are_enough_of_them():
    late = replace(REFITS, val_start="2015-06-01", test_start="2016-01-01")
    # Those of 2015 and January 2016 know fewer than 300 days.
    assert starts(make(), late)[0] == "2017-01-02"
    before = Refits("2030-01-01", "2031-01-01", "2032-01-01", 1)
    assert before.starts(make(), 1) == [1399]
    assert np.isfinite(classical_variance(make(), 1, before)[1 + max(DAYS) :]).all()


@pytest.mark.parametrize("horizon", [1, 5])
def test_the_start_is_the_mean_of_both_baselines_or_a_combination_with_a_third(horizon):
    panel = make(2)
    mean = classical_variance(panel, horizon, REFITS)
    edges = [*REFITS.starts(panel, 1), 1400]
    plan = Plan(1, tuple(np.arange(*span) for span in pairwise(edges)), horizon)
    har, gjr, moving = (
        BASELINES[name](panel, plan).variance for name in ("har", "gjr_garch_t", "riskmetrics")
    )
    np.testing.assert_allclose(mean[plan.rows], (har + gjr) / 2, rtol=1e-12)
    combined = classical_variance(panel, horizon, replace(REFITS, combined=True))
    within = combined[plan.rows]
    assert (within >= np.minimum(np.minimum(har, gjr), moving) * (1 - 1e-12)).all()
    assert (within <= np.maximum(np.maximum(har, gjr), moving) * (1 + 1e-12)).all()
    assert not np.allclose(within, (har + gjr + moving) / 3)
    for start in (mean, combined):
        assert np.isnan(start[: 1 + max(DAYS)]).all()
        assert np.isfinite(start[1 + max(DAYS) :]).all()


@pytest.mark.parametrize("horizon", [1, 22])
def test_an_untrained_network_is_its_start_and_a_wild_one_stays_near_it(small, horizon):
    made = parts(small, MODEL, f"app.horizon={horizon}")
    data, rows = made.data, np.arange(900, 1300)
    base = data.encoding.base(data.panel)[rows]

    def variance():
        return forecast(made.task, data.encoding, data.panel, data.windows(rows), rows).variance

    # float32 keeps 24 bits of the base.
    np.testing.assert_allclose(variance(), base, rtol=1e-6)
    torch.nn.init.normal_(made.task.net.readout.output.weight, std=100.0)
    away = np.abs(np.log(variance() / base))
    bound = made.config.app.bound / math.sqrt(horizon)
    assert away.max() <= bound + 1e-5
    assert away.max() > 0.9 * bound


def test_a_run_of_before_the_combination_keeps_its_start(small):
    encoding = parts(small, MODEL, "app.base=har_gjr").data.encoding
    record = encoding.to_dict()
    del record["refits"]["combined"]
    assert Encoding.from_dict(record) == encoding


def test_the_future_moves_no_forecast_after_training(small):
    made = parts(small, MODEL, "app.horizon=5", "data.val_fraction=0.3")
    torch.nn.init.normal_(made.task.net.readout.output.weight, std=0.3)
    data, rows, at = made.data, np.arange(720, 1390), 450  # there is a refit on either side
    whole = []
    for panel in (data.panel, tampered(data.panel, rows[at])):
        windows = make_windows(panel, data.encoding, rows)
        raw = forecast(made.task, data.encoding, panel, windows, rows)
        whole.append(recalibrate(raw, 250))
    for field in ("variance", "quantiles", "shortfall"):
        before, after = (getattr(one, field) for one in whole)
        np.testing.assert_array_equal(before[: at + 1], after[: at + 1])
        assert (before[at + 1 :] != after[at + 1 :]).any()


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of four steps, recalibrated on 300 days; read only."""
    path = tmp_path_factory.mktemp("residual") / "run"
    succeed("train", *settings(small), f"run_dir={path}")
    return path


def settings(small: list[str]) -> list[str]:
    return [*small, MODEL, "app.recalibration_days=300", "data.val_fraction=0.25"]


def test_a_resumed_run_equals_the_whole(monkeypatch, small, trained, tmp_path):
    run = tmp_path / "run"
    interrupted(monkeypatch, 3, Killed, *settings(small), f"run_dir={run}")
    succeed("train", f"resume={run}")
    assert_same_run(run, trained)


def test_a_prediction_equals_the_one_of_the_test_day(trained, tmp_path):
    expected, table = read(trained).iloc[100], price_table()
    table[table["date"] <= expected["origin"]].to_csv(tmp_path / "mine.csv", index=False)
    output = tmp_path / "out.csv"
    succeed("predict", f"run={trained}", f"input={tmp_path / 'mine.csv'}", f"output={output}")
    found = pd.read_csv(output).iloc[0]
    assert found["volatility"] == pytest.approx(math.sqrt(expected["variance"]), rel=1e-4)
    assert found["var_1"] == pytest.approx(expected["q0.01"], rel=1e-4)


def test_a_file_that_is_too_short_to_fit_the_models_on(trained, empty_folder):
    price_table().iloc[-LEAST_FITTED - 1 :].to_csv("short.csv", index=False)
    line = refused("predict", f"run={trained}", "input=short.csv", "output=out.csv")
    assert "short: 301 days of prices; the network starts from HAR and GJR-GARCH" in line
    assert "give it 302 days, or train with model=lstm" in line
    price_table().iloc[-LEAST_FITTED - 2 :].to_csv("enough.csv", index=False)
    succeed("predict", f"run={trained}", "input=enough.csv", "output=out.csv")


def test_a_correction_needs_a_base(small, empty_folder):
    line = refused("train", *small, MODEL, "app.output=softplus", "run_dir=r")
    assert "bound=0.5: output=softplus has no base to stay near; take null" in line
    assert "bound must be null or > 0" in refused(
        "train", *small, MODEL, "app.bound=0", "run_dir=r"
    )
    assert "app.base='ridge'" in refused("train", *small, "app.base=ridge", "run_dir=r")
