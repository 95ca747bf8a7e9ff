"""Statistics against hand-worked values and numpy."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.report import Comparison, Metric, Run
from apps.report.statistics.summaries import (
    Counts,
    best,
    clip_rate,
    count,
    identical,
    summarize,
)
from apps.report.statistics.sweep import close_range, medians, stands, value_counts, working_range
from tests.apps.report.comparisons import METRICS, run, two

LOSS, ACCURACY, COVERAGE = METRICS
LR = "optimizer.lr"


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20))
def test_summary_equals_numpy(values: list[float]) -> None:
    summary = summarize([*values, None, math.nan, math.inf])
    assert summary.n == len(values)
    assert summary.mean == pytest.approx(np.mean(values))
    assert summary.sd == pytest.approx(np.std(values, ddof=1))
    assert (summary.low, summary.high) == (min(values), max(values))


def test_summary_of_few_values_invents_nothing() -> None:
    assert summarize([3.0]).sd is None
    assert summarize([None]).mean is None


@pytest.mark.parametrize(
    ("metric", "value", "loss"), [(LOSS, 2.0, 2.0), (ACCURACY, 0.9, -0.9), (COVERAGE, 77.0, 3.0)]
)
def test_a_metric_turns_values_into_losses(metric: Metric, value: float, loss: float) -> None:
    assert metric.loss(value) == loss


def test_counts_and_clip_rate() -> None:
    runs = [
        run("clip", 1, 1.0, clip_rate=0.5, steps=100),
        run("clip", 2, 1.0, clip_rate=0.1, steps=300),
        run("clip", 3, None, status="diverged", clip_rate=None),
        run("clip", 4, None, status="failed", clip_rate=None),
    ]
    assert count(runs) == Counts(total=4, completed=2, diverged=1, failed=1)
    assert clip_rate(runs) == pytest.approx(0.2)
    assert clip_rate(runs[2:]) is None


def test_identical_means_every_score_of_every_seed() -> None:
    assert identical(two([1.0, 2.0], [1.0, 2.0]).shown, "clip", METRICS)
    assert not identical(two([1.0, 2.1], [1.0, 2.0]).shown, "clip", METRICS)
    assert not identical(two([1.0, 2.0], [1.0, 2.0], status="diverged").shown, "clip", METRICS)
    assert not identical(two([], [1.0]).shown, "clip", METRICS)


def test_times_do_not_tell_identical_runs_apart() -> None:
    results = two([1.0], [1.0])
    timed = Metric("seconds", "Time", repeatable=False)
    results = replace(results, metrics=[*results.metrics, timed])
    for seconds, one in enumerate(results.runs):
        one.test["seconds"] = float(seconds)
    assert identical(results.shown, "clip", results.metrics)
    assert not identical(results.shown, "clip", METRICS)


def test_best_shares_the_place_at_the_printed_precision() -> None:
    values = {"a": 3.501, "b": 3.499, "c": 3.6, "d": None, "e": math.nan}
    assert best(values, LOSS) == {"a", "b"}
    assert best({"a": 0.8, "b": 0.9}, ACCURACY) == {"b"}
    assert best({"a": 83.0, "b": 76.0}, COVERAGE) == {"a"}
    assert best({"a": None}, LOSS) == set()


def rate(clipping: str, value: float, loss: float | None, seed: int = 1) -> Run:
    status = "diverged" if loss is None else "completed"
    return run(clipping, seed, loss, lr=value, settings={LR: value}, status=status)


def test_sweep_medians_and_ranges() -> None:
    runs = [
        *(rate("none", 0.1, loss, seed) for seed, loss in enumerate([1.0, 3.0])),
        *(rate("none", 1.0, loss, seed) for seed, loss in enumerate([1.0, None])),
        *(rate("clip", value, loss) for value, loss in [(0.1, 2.0), (1.0, 1.9), (10.0, 4.0)]),
    ]
    assert medians(runs[:4], LR, LOSS) == {0.1: 2.0}
    assert value_counts(runs[:4], LR) == (1, 2)
    assert str(working_range(runs[:4], LR)) == "only at 0.1"
    wide, narrow = working_range(runs[4:], LR), working_range(runs[:4], LR)
    assert str(wide) == "0.1 to 10 (factor 100)"
    assert wide is not None
    assert narrow is not None
    assert wide.wider_than(narrow) == pytest.approx(100)
    # By validation loss 0.1 is the best, though another value scores better on the test.
    runs = [replace(r, val_loss={0.1: 0.5, 1.0: 0.6, 10.0: 0.9}[r.lr]) for r in runs]
    found = stands(Comparison(runs), LR, LOSS)
    assert (found["none"].runs, found["none"].diverged) == (4, 1)
    assert (found["clip"].best, found["clip"].best_at) == (2.0, 0.1)
    assert found["clip"].close_to_best == [0.1, 1.0]
    assert str(close_range(found["clip"], runs, LR)) == "0.1 to 1 (factor 10)"
    assert found["none"].median == 1.0


def test_a_range_is_the_longest_unbroken_stretch() -> None:
    losses = [1.0, None, 1.0, 1.0, 1.0]
    grid = [0.01, 0.03, 0.1, 0.3, 1.0]
    runs = [rate("none", value, loss) for value, loss in zip(grid, losses, strict=True)]
    assert str(working_range(runs, LR)) == "0.1 to 1 (factor 10)"
    assert working_range([rate("none", 0.1, None)], LR) is None
