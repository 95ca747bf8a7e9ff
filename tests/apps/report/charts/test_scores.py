"""The axis of the scores: a far baseline does not squeeze it, and noise does not look large."""

from __future__ import annotations

import pandas as pd
import pytest

from apps.report.charts.scores import axis_range


def points(runs: list[float], baselines: list[float]) -> pd.DataFrame:
    kinds = ["seed"] * len(runs) + ["baseline"] * len(baselines)
    return pd.DataFrame({"kind": kinds, "score": [*runs, *baselines]})


def test_runs_half_a_per_cent_apart_look_close() -> None:
    low, high = axis_range(points([2.17, 2.18], [2.18, 3.2]))
    assert low == 2.17, "nothing is further to the left"
    assert high == pytest.approx(1.02 * 2.175)


def test_a_far_baseline_stands_at_the_edge() -> None:
    low, high = axis_range(points([1.0, 1.4], [1.5, 90.0]))
    assert low == 1.0
    assert high == pytest.approx(1.2 + 1.6 * 0.3)


def test_baselines_alone_have_their_own_range() -> None:
    assert axis_range(points([], [1.0, 3.0])) == (1.0, 3.0)
