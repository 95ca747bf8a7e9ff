"""Strategies against unclipped, seed by seed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from apps.report.page.findings import verdict
from apps.report.statistics.pairing import against_unclipped, pair
from apps.report.tables.scores import gain_cell
from tests.apps.report.comparisons import METRICS, make_results, run, two

LOSS = METRICS[0]


def test_pairs_are_worked_by_hand() -> None:
    # Gains 0.2, 0.1, 0.3: mean 0.2, sd 0.1, p = 1 - sqrt(6 / 7) (see test_inference).
    paired = pair(two([0.8, 0.9, 0.7], [1.0, 1.0, 1.0]).shown, "clip", LOSS)
    assert (paired.n, paired.better, paired.worse) == (3, 3, 0)
    assert paired.gain == pytest.approx(0.2)
    assert paired.p_value == pytest.approx(1 - math.sqrt(6 / 7))
    assert paired.improvement == 1.0
    # The bootstrap of three values excludes zero, which the test does not confirm.
    assert paired.interval is not None
    assert paired.interval.low > 0
    assert paired.verdict == "noise"


def test_pairs_need_both_runs() -> None:
    paired = pair(two([0.8, None, 0.7], [1.0, 1.0, None]).shown, "clip", LOSS)
    assert (paired.n, paired.interval, paired.verdict) == (1, None, "unknown")


def test_a_lost_run_counts_for_the_probability_of_improvement() -> None:
    runs = [run("none", 1, 1.0), run("none", 2, None, status="diverged")]
    runs += [run("clip", 1, 1.1), run("clip", 2, 1.2), run("clip", 3, None, status="failed")]
    paired = pair(make_results(runs).shown, "clip", LOSS)
    assert paired.improvement == 0.5  # better than the diverged run, worse than the other
    assert paired.gain == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("ours", "verdict"), [([0.8, 0.81, 0.79], "better"), ([1.2, 1.21, 1.19], "worse")]
)
def test_verdict_needs_an_interval_without_zero(ours: list[float | None], verdict: str) -> None:
    assert pair(two(ours, [1.0, 1.0, 1.0]).shown, "clip", LOSS).verdict == verdict


def test_strategies_are_compared_by_what_training_can_change() -> None:
    runs = [
        replace(run(name, seed, 1.0), test={"loss": 1.0, "accuracy": score + seed / 100})
        for name, score in (("none", 0.5), ("clip", 0.6))
        for seed in range(5)
    ]
    assert against_unclipped(make_results(runs))[0]["clip"].gain == 0
    paired = against_unclipped(make_results(runs, trained_metric="accuracy"))[0]["clip"]
    assert paired.gain == pytest.approx(0.1)
    results = make_results(runs, trained_metric="accuracy")
    assert "better" in verdict(results)
    assert results.trained.label in verdict(results)
    assert gain_cell(results, results.shown, "clip").sort == pytest.approx(0.1)
    with pytest.raises(ValueError, match="'speed' is not among"):
        make_results(runs, trained_metric="speed")


def test_many_comparisons_are_corrected_together() -> None:
    theirs = [1.0, 1.0, 1.0, 1.0]
    runs = [run("none", seed, loss) for seed, loss in enumerate(theirs)]
    gains = {"a": [0.1, 0.2, 0.15, 0.05], "b": [0.0, 0.1, -0.1, 0.02], "c": [0.0, -0.2, 0.1, 0.3]}
    for name, of in gains.items():
        runs += [run(name, seed, 1 - gain) for seed, gain in enumerate(of)]
    results = make_results(runs)
    (found,) = against_unclipped(results)
    alone = pair(results.shown, "a", LOSS)
    assert alone.p_value is not None
    assert alone.verdict == "better"
    assert found["a"].p_value == pytest.approx(3 * alone.p_value)
    assert (found["a"].family, found["a"].verdict) == (3, "noise")
