"""Differences of scores in the same scenarios, and their intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from apps.driving.intervals import interval, paired_scores


def table(scores: np.ndarray) -> pd.DataFrame:
    test = pd.DataFrame({"split": "test", "score": scores})
    return pd.concat([test, pd.DataFrame({"split": "dense", "score": 0 * scores})])


def test_the_interval_of_one_seed_is_that_of_the_scenarios() -> None:
    sample = np.random.default_rng(1).normal(1.0, 4.0, (1, 400))
    low, high = interval(sample)
    theirs = stats.t.interval(0.95, 399, sample.mean(), stats.sem(sample[0]))
    # A quantile of 2,000 draws has a standard error of 6 % of the interval's half.
    assert (low, high) == pytest.approx(theirs, abs=0.1)


def test_it_is_wider_where_seeds_differ() -> None:
    draw = np.random.default_rng(1)
    alike = draw.normal(1.0, 4.0, (5, 400))
    apart = alike + 3.0 * draw.normal(size=(5, 1))
    widths = [high - low for low, high in map(interval, (alike, apart))]
    assert widths[1] > 4 * widths[0]


def test_a_row_for_the_unclipped_and_for_every_baseline() -> None:
    base = np.random.default_rng(0).uniform(50, 90, 64)
    trained = {
        "none": {0: table(base), 1: table(base)},
        "value": {0: table(base + 1.0), 1: table(base + 3.0), 2: table(base)},
    }
    (found,) = paired_scores(trained, {"random": table(base - 10.0)})
    rows = [[cell.text for cell in row] for row in found.table.groups[""]]
    assert [row[:4] for row in rows] == [
        ["unclipped", "random", "2", "10.00"],
        ["value", "unclipped", "2", "2.00"],
        ["value", "random", "3", "11.33"],
    ]
    assert rows[0][4] == "10.00 to 10.00"
    assert [row[3].bold for row in found.table.groups[""]] == [True, True, True]


def test_nothing_to_compare_with_is_no_table() -> None:
    assert paired_scores({"value": {0: table(np.ones(3))}}, {}) == []
