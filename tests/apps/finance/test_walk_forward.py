"""A walk-forward test: a training for each block, one score, and nothing but the past in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hydra import initialize_config_dir
from omegaconf import DictConfig

from apps import CONF
from apps.cli.compose import compose_run
from apps.finance.application import Finance
from apps.finance.forecast import Forecast, concatenate
from apps.finance.metrics import evaluate
from apps.run.experiment import Experiment
from apps.run.folds import train_run
from tests.apps.finance.prices import TINY, price_table
from tests.apps.runs import metrics, steps
from tests.conftest import succeed

SPLIT = ("split=walk_forward", "split.years=1", "split.val_years=1", "app.samples_per_epoch=640")
CHANGED = 1250  # a row in the last block


def configured(path: Path, *more: str) -> DictConfig:
    data = ["data=csv", f"data.path={path}", "data.test_fraction=0.4"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose_run("finance", [*TINY, *data, *SPLIT, *more])


@pytest.fixture(scope="module")
def walked(prices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run over two blocks; read only."""
    path = tmp_path_factory.mktemp("walked") / "run"
    train_run(Experiment(configured(prices)), path, quiet=True)
    return path


def forecast(run: Path) -> Forecast:
    return Forecast.from_frame(pd.read_parquet(run / "predictions.parquet"))


def test_all_blocks_are_scored_together(walked):
    whole, blocks = forecast(walked), [forecast(walked / "folds" / name) for name in "01"]
    joined = concatenate(blocks)
    pd.testing.assert_frame_equal(whole.to_frame(), joined.to_frame())
    assert len(whole.origins) > 500
    assert whole.origins.is_monotonic_increasing
    score = evaluate(joined, 1)
    assert metrics(walked)["test"]["qlike"] == pytest.approx(score["qlike"])
    assert metrics(walked)["test"]["fz_1"] == pytest.approx(score["fz_1"])


def test_the_record_is_that_of_all_trainings(walked):
    folds = [metrics(walked / "folds" / name) for name in "01"]
    record, table = metrics(walked), steps(walked)
    assert record["status"] == "completed"
    assert record["steps"] == len(table) == sum(fold["steps"] for fold in folds)
    assert table["step"].tolist() == list(range(len(table)))
    assert len(pd.read_csv(walked / "epochs.csv")) == 6  # two epochs and the untrained, twice


def test_a_later_block_is_trained_on_more(prices):
    parts = Experiment(configured(prices))
    assert isinstance(parts.application, Finance)
    blocks = [Experiment(configured(prices, f"split.block={block}")).data for block in (0, 1)]
    first, second = (data.origins("train") for data in blocks)
    assert second[0] == first[0]
    assert second[-1] > first[-1]
    for data in blocks:
        assert data.panel.dates[data.origins("train")[-1] + 1] < data.panel.val_start
        assert data.panel.dates[data.origins("val")[-1] + 1] < data.panel.test_start
    np.testing.assert_array_equal(parts.data.origins("train"), first)


def test_the_baselines_are_fitted_on_the_same_schedule(prices):
    parts = Experiment(configured(prices))
    blocks = [Experiment(configured(prices, f"split.block={block}")).data for block in (0, 1)]
    plan: Any = parts.application._plan(parts.data)  # type: ignore[attr-defined]
    assert [block[0] for block in plan.blocks] == [data.origins("test")[0] for data in blocks]
    assert any("for the same blocks" in note for note in parts.application.notes)


def test_the_future_moves_no_forecast_of_a_walk(walked, prices, tmp_path):
    table = price_table()
    later = table.index > CHANGED
    for name in ("open", "high", "low", "close"):
        table.loc[later, name] **= 1.5
    table.to_csv(tmp_path / "other.csv", index=False)
    train_run(Experiment(configured(tmp_path / "other.csv")), tmp_path / "run", quiet=True)
    before, after = forecast(walked), forecast(tmp_path / "run")
    known = before.origins <= pd.Timestamp(table["date"][CHANGED])
    assert 300 < known.sum() < len(known)
    for field in ("variance", "quantiles", "shortfall"):
        mine, theirs = getattr(before, field), getattr(after, field)
        np.testing.assert_array_equal(mine[known], theirs[known])
        assert (mine[~known] != theirs[~known]).any()


def test_recalibration_and_averaging_go_through_all_blocks(prices, tmp_path):
    more = ("app.recalibration_days=250", "app.average_with=har")
    train_run(Experiment(configured(prices, *more)), tmp_path / "run", quiet=True)
    whole, alone = forecast(tmp_path / "run"), forecast(tmp_path / "run" / "folds" / "1")
    later = whole.between(alone.origins[0], whole.origins[-1] + pd.Timedelta(days=1))
    # Errors before the second block are those of the first network, not the second.
    assert (later.quantiles != alone.quantiles).any()
    assert metrics(tmp_path / "run")["test"]["hits_1_raw"] is not None


def test_an_interrupted_walk_continues(walked, prices, tmp_path, monkeypatch):
    def lost(*arguments: object, **settings: object) -> None:
        raise KeyboardInterrupt

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("apps.run.folds._join", lost)
        with pytest.raises(KeyboardInterrupt):
            train_run(Experiment(configured(prices)), run, quiet=True)
    (run / "folds" / "1" / "metrics.json").unlink()
    out = succeed("train", f"resume={run}")
    assert "held-out test: qlike" in out
    assert metrics(run)["test"] == metrics(walked)["test"]


def test_a_walk_is_evaluated_as_a_whole_and_predicts_by_its_newest_network(
    walked, prices, tmp_path
):
    out = succeed("evaluate", f"run={walked}", "baselines=false")
    assert f"{metrics(walked)['test']['qlike']:.3f}" in out
    tables = []
    for name, run in (("whole", walked), ("newest", walked / "folds" / "1")):
        output = tmp_path / f"{name}.csv"
        succeed("predict", f"run={run}", f"input={prices}", f"output={output}")
        tables.append(pd.read_csv(output))
    pd.testing.assert_frame_equal(*tables)
