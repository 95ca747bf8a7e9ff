"""The statistics against NumPy and SciPy, and on sequences with a known answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradclip_core.advice.statistics import (
    describe_modules,
    describe_norms,
    describe_parameters,
    hill,
    relative_norms,
)
from tests.core.advice.records import lognormal, record_of

scipy_stats = pytest.importorskip("scipy.stats")


@given(st.integers(0, 1000), st.integers(5, 50))
def test_hill_is_the_likeliest_pareto_index(seed: int, k: int) -> None:
    values = np.random.default_rng(seed).pareto(1.5, 100) + 0.1
    largest = np.sort(values)[::-1]
    shape, _, _ = scipy_stats.pareto.fit(largest[:k], floc=0, fscale=largest[k])
    assert hill(torch.tensor(values), k) == pytest.approx(shape)


@pytest.mark.parametrize("index", [1.0, 2.0, 5.0])
def test_hill_finds_the_index_of_a_pareto_sample(index: float) -> None:
    values = scipy_stats.pareto.rvs(index, size=20_000, random_state=0)
    assert hill(torch.tensor(values), 2000) == pytest.approx(index, rel=0.1)


def test_hill_of_equal_values_is_no_tail() -> None:
    assert hill(torch.ones(50), 5) == float("inf")


@pytest.mark.parametrize("steps", [50, 51, 200])
def test_percentiles_are_numpys(steps: int) -> None:
    norms = lognormal(steps, sd=1.0)
    found = describe_norms(record_of(norms)).percentiles
    assert list(found.values()) == pytest.approx(np.percentile(norms, list(found)))


def test_relative_norms_are_over_the_median_before() -> None:
    norms = lognormal(80, sd=0.5)
    expected = [norms[t] / np.median(norms[max(0, t - 25) : t]) for t in range(10, 80)]
    assert relative_norms(torch.tensor(norms)).tolist() == pytest.approx(expected)


def test_a_drifting_level_is_drift_and_no_tail() -> None:
    norms = lognormal(400) * np.geomspace(100, 1, 400)
    statistics = describe_norms(record_of(norms))
    expected = np.median(norms[-100:]) / np.median(norms[:100])
    assert statistics.drift == pytest.approx(expected)
    assert statistics.tail_index > 5
    assert statistics.tail_ratio < 2


def test_a_heavy_tail_is_seen() -> None:
    norms = scipy_stats.pareto.rvs(1.2, size=1000, random_state=0)
    statistics = describe_norms(record_of(norms))
    assert statistics.tail_index == pytest.approx(1.2, abs=0.3)
    assert statistics.tail_ratio > 10


def test_spikes_are_counted_one_by_one() -> None:
    norms = lognormal(300)
    norms[[60, 150, 240]] *= 20
    assert describe_norms(record_of(norms)).spikes == 3
    assert describe_norms(record_of(lognormal(300))).spikes == 0


def test_steps_without_a_usable_norm_count_and_change_nothing_else() -> None:
    norms = lognormal(100)
    broken = np.insert(norms, [3, 40, 70], [np.nan, 0.0, np.inf])
    statistics, clean = describe_norms(record_of(broken)), describe_norms(record_of(norms))
    assert (statistics.steps, statistics.nonfinite, statistics.broke_down) == (103, 2, False)
    assert statistics.percentiles == clean.percentiles
    assert (statistics.tail_index, statistics.drift) == (clean.tail_index, clean.drift)
    assert describe_norms(record_of([*norms, np.nan])).broke_down


def test_few_steps_have_no_tail() -> None:
    statistics = describe_norms(record_of(lognormal(49)))
    assert (statistics.tail_index, statistics.tail_ratio) == (None, None)


def test_modules_share_the_squared_norm() -> None:
    record = record_of(lognormal(100, level=2.0), shares=(0.05, 0.7, 0.25))
    parts = describe_modules(record)
    assert [part.name for part in parts] == ["part1", "part2", "part0"]
    assert [part.share for part in parts] == pytest.approx([0.7, 0.25, 0.05])
    assert parts[0].norm == pytest.approx(float(record.norms.median()) * 0.7**0.5, rel=0.05)
    assert [part.ratio for part in parts] == pytest.approx([part.norm for part in parts])
    assert describe_parameters(record)[0].name == "part1.weight"


def test_a_part_without_a_gradient_is_told() -> None:
    parts = describe_modules(record_of(lognormal(100), shares=(1.0, 0.0)))
    assert [part.zero_steps for part in parts] == [0.0, 1.0]
