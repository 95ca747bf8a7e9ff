"""The record of a comparison: strict JSON, there and back."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apps.report import Grid, Metric, Results, Run, read_results, write_results
from tests.apps.report.comparisons import METRICS, make_results, make_sweep


def run(**changes: object) -> Run:
    fields: dict[str, object] = {
        "clipping": "none",
        "seed": 1,
        "optimizer": "sgd",
        "lr": 0.1,
        "status": "completed",
        "test": {"loss": 1.0},
    }
    return Run(**{**fields, **changes})  # type: ignore[arg-type]


def no_constant(text: str) -> float:
    raise AssertionError(f"{text} is no JSON")


def test_results_come_back_as_written(tmp_path: Path) -> None:
    results = make_results(
        [run(), run(seed=2, status="diverged", test={}, diverged_at=7)],
        baselines={"ridge": {"loss": 3.5, "accuracy": None}},
        sweep=make_sweep(),
        notes=["a note"],
        config={"seed": 1},
    )
    results = replace(results, trained_metric="accuracy")
    write_results(results, tmp_path / "results.json")
    assert read_results(tmp_path / "results.json") == results


def test_non_finite_numbers_become_null(tmp_path: Path) -> None:
    scores = {"loss": math.nan, "accuracy": np.float32("inf"), "coverage_80": np.float64(79.5)}
    results = make_results([run(test=scores)], config={"max_norm": math.inf, "n": np.int64(3)})
    write_results(results, tmp_path / "results.json")
    text = (tmp_path / "results.json").read_text(encoding="utf-8")
    record = json.loads(text, parse_constant=no_constant)
    assert record["grid"]["runs"][0]["test"] == {
        "loss": None,
        "accuracy": None,
        "coverage_80": 79.5,
    }
    assert record["config"] == {"max_norm": None, "n": 3}


def test_the_agreed_keys_stand_at_the_top(tmp_path: Path) -> None:
    write_results(make_results([run()]), tmp_path / "results.json")
    record = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert {"app", "metric", "direction", "grid", "baselines"} <= record.keys()
    assert {"clipping", "seed", "status", "test"} <= record["grid"]["runs"][0].keys()


def test_strategies_begin_with_the_unclipped_one() -> None:
    results = make_results([run(clipping="zclip"), run(clipping="none"), run(clipping="agc")])
    assert results.strategies == ["none", "zclip", "agc"]


@pytest.mark.parametrize(
    ("status", "value", "score"),
    [
        ("completed", 1.0, 1.0),
        ("completed", math.nan, None),
        ("completed", None, None),
        ("diverged", 1.0, None),
        ("failed", 1.0, None),
    ],
)
def test_only_completed_runs_score(status: str, value: float | None, score: float | None) -> None:
    assert run(status=status, test={"loss": value}).score("loss") == score


def test_wrong_records_are_refused() -> None:
    with pytest.raises(ValueError, match="status"):
        run(status="fine")
    with pytest.raises(ValueError, match="must set"):
        Grid([run()], {"optimizer.lr": [0.1, 1.0]})
    with pytest.raises(ValueError, match="must set"):
        Grid([run(settings={"optimizer.lr": 0.1})])
    with pytest.raises(ValueError, match="not among the swept"):
        Grid([run()], tuned=["optimizer.lr"])
    with pytest.raises(ValueError, match="direction"):
        Metric("loss", "Loss", direction="down")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="target"):
        Metric("coverage", "Coverage", direction="target")
    with pytest.raises(ValueError, match="primary"):
        make_results([run()], metric="speed")
    with pytest.raises(ValueError, match="contradicts"):
        Results("demo", "Demo", "loss", "max", METRICS, Grid([run()]))
