"""Statistics of few seeds against hand-worked values, SciPy, and the definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint

from apps.report.statistics.inference import (
    Interval,
    detectable,
    holm,
    improvement,
    improvement_interval,
    interquartile_mean,
    mean_interval,
    paired_p_value,
    share_interval,
)

losses = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=8)


def test_the_paired_test_is_worked_by_hand() -> None:
    # Mean 0.2, sd 0.1: t = 0.2 / (0.1 / sqrt(3)) = 3.4641 with 2 degrees of freedom. Their
    # distribution is 1/2 + t / (2 sqrt(2 + t^2)), so p = 1 - t / sqrt(2 + t^2) = 1 - sqrt(6 / 7).
    assert paired_p_value([0.2, 0.1, 0.3]) == pytest.approx(1 - math.sqrt(6 / 7))


def test_the_paired_test_equals_scipys() -> None:
    ours, theirs = np.random.default_rng(1).normal(size=(2, 6))
    expected = stats.ttest_rel(ours, theirs).pvalue
    assert paired_p_value(list(ours - theirs)) == pytest.approx(expected)


@pytest.mark.parametrize(("values", "p"), [([0.0, 0.0], 1.0), ([0.1, 0.1], 0.0), ([0.1], None)])
def test_pairs_without_spread(values: list[float], p: float | None) -> None:
    assert paired_p_value(values) == p
    assert detectable(values) is None


def test_the_bootstrap_of_two_values_is_worked_by_hand() -> None:
    # Means of resamples: 0 and 1 with 1/4 each, 1/2 with 1/2. Their 2.5 % quantiles are 0 and 1.
    assert mean_interval([0.0, 1.0]) == Interval(0.0, 1.0)


def test_the_bootstrap_equals_scipys_and_repeats() -> None:
    values = [0.3, -0.1, 0.2, 0.25, 0.05, 0.4]
    found = mean_interval(values)
    assert found == mean_interval(values)
    wanted = stats.bootstrap((values,), np.mean, n_resamples=50_000, method="BCa", rng=7)
    assert found is not None
    ends = wanted.confidence_interval
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), abs=0.01)


def test_intervals_of_too_few_or_equal_values() -> None:
    assert mean_interval([0.1]) is None
    assert mean_interval([]) is None
    assert mean_interval([0.1, 0.1, 0.1]) == Interval(0.1, 0.1)
    assert improvement_interval([1.0], [2.0]) is None


def test_the_bootstrap_of_normal_values_nears_students_interval() -> None:
    values = np.random.default_rng(3).normal(size=200)
    found = mean_interval(list(values))
    low, high = stats.t.interval(0.95, 199, values.mean(), stats.sem(values))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)


def test_holm_is_worked_by_hand() -> None:
    # Ordered 0.01, 0.03, 0.04 times 3, 2, 1: 0.03, 0.06, 0.04, of which none falls.
    assert holm([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.4]) == [0.4]
    assert holm([]) == []


def test_what_can_be_detected_has_the_power_it_claims() -> None:
    gains = [0.2, 0.1, 0.3, 0.25]
    effect = (detectable(gains) or 0.0) / np.std(gains, ddof=1)
    assert TTestPower().power(effect, 4, 0.05) == pytest.approx(0.8)


def test_improvement_is_worked_by_hand() -> None:
    # Pairs: 1<2, 1<3, 2=2 (half), 2<3, and a lost run beats only a lost run by half: 3.5 of 6.
    assert improvement([1.0, 2.0, math.inf], [2.0, 3.0]) == pytest.approx(3.5 / 6)
    assert improvement([math.inf], [math.inf]) == 0.5


@given(losses, losses)
def test_improvement_is_mann_whitneys_statistic(ours: list[float], theirs: list[float]) -> None:
    statistic = stats.mannwhitneyu(theirs, ours, method="asymptotic").statistic
    assert improvement(ours, theirs) == pytest.approx(statistic / (len(ours) * len(theirs)))
    assert improvement(ours, theirs) + improvement(theirs, ours) == pytest.approx(1.0)


def test_improvement_of_clear_and_of_equal_runs() -> None:
    assert improvement_interval([1.0, 1.1, 1.2], [2.0, 2.1, 2.2]) == Interval(1.0, 1.0)
    found = improvement_interval([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0])
    assert found == Interval(0.5, 0.5)  # resampled in pairs: always the same runs on both sides


def test_interquartile_mean_leaves_out_a_quarter_at_each_end() -> None:
    assert interquartile_mean([100.0, 2.0, 3.0, -50.0]) == 2.5
    assert interquartile_mean([1.0, 2.0, 6.0]) == 3.0
    assert interquartile_mean([]) is None


@pytest.mark.parametrize(("number", "total"), [(0, 3), (2, 5), (5, 5)])
def test_shares_have_wilsons_interval(number: int, total: int) -> None:
    found = share_interval(number, total)
    assert found is not None
    expected = proportion_confint(number, total, method="wilson")
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)
    assert share_interval(0, 0) is None
