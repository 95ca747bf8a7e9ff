"""A percentile of numbers that come and go: NumPy's at every step, however long the history."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradclip_core import Percentile
from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.host_step import HostParts
from gradclip_core.thresholds.ordered import RollingPercentile
from gradclip_core.thresholds.window import ExactSums

# Few different values, so that many are equal.
numbers = st.lists(st.integers(1, 9).map(float), max_size=60)


@given(start=numbers, come=numbers, q=st.floats(0, 100), window=st.integers(1, 40))
@settings(max_examples=200)
def test_it_is_numpys_at_every_step(
    start: list[float], come: list[float], q: float, window: int
) -> None:
    kept = start[-window:]
    rolling = RollingPercentile(kept, q)
    for number in come:
        if len(kept) == window:
            rolling.replace(kept.pop(0), number)
        else:
            rolling.add(number)
        kept.append(number)
        assert rolling.value() == pytest.approx(np.percentile(kept, q), rel=1e-12)


@pytest.mark.parametrize("q", [0.0, 10.0, 97.5, 100.0])
def test_many_numbers_that_drift(q: float) -> None:
    series = np.random.default_rng(0).lognormal(size=9_000) * np.linspace(1, 50, 9_000)
    rolling, window = RollingPercentile([], q), 4_000
    for step, number in enumerate(series.tolist()):
        if step >= window:
            rolling.replace(float(series[step - window]), number)
        else:
            rolling.add(number)
        if step % 617 == 0:
            expected = np.percentile(series[max(0, step - window + 1) : step + 1], q)
            assert rolling.value() == pytest.approx(expected, rel=1e-12)


def test_nothing_has_no_percentile() -> None:
    assert RollingPercentile([], 50.0).value() == math.inf


def test_a_number_moves_no_long_list() -> None:
    """Work per step, not time: the longest list that a step may have to shift stays short."""
    rolling = RollingPercentile(np.random.default_rng(0).random(100_000).tolist(), 10.0)
    for number in np.linspace(0.4, 0.6, 3_000).tolist():
        rolling.add(number)
    parts = [*rolling._low._lists, *rolling._high._lists]
    assert sum(map(len, parts)) == 103_000
    assert max(map(len, parts)) <= 1024
    assert len(parts) < 400


@given(st.lists(st.floats(0, 1e300), min_size=3, max_size=30), st.integers(1, 20))
@settings(max_examples=100)
def test_sums_of_a_window_lose_nothing(series: list[float], rounds: int) -> None:
    sums = ExactSums(series)
    for number in series * rounds:
        sums.add(number * 0.7)
    for number in series * rounds:
        sums.add(number * 0.7, -1)
    mean, variation = sums.moments()
    assert (mean, variation) == ExactSums(series).moments()
    peak = max(series)
    if peak > 0:
        scaled = np.asarray(series) / peak
        assert mean / peak == pytest.approx(scaled.mean(), rel=1e-12)
        assert variation * scaled.mean() == pytest.approx(scaled.std(ddof=1), rel=1e-7, abs=1e-12)


def on_host(threshold: Percentile, norm: float) -> float:
    parts = HostParts(Gradients(), 2.0)
    parts.norms = norm
    return threshold.host_thresholds(parts)


def test_a_percentile_resumes_in_the_midst_of_its_window() -> None:
    series = np.random.default_rng(1).lognormal(size=400).tolist()
    whole, first, second = (Percentile(30.0, window=150) for _ in range(3))
    expected = [on_host(whole, norm) for norm in series]
    found = [on_host(first, norm) for norm in series[:233]]
    second.load_state_dict(first.state_dict())
    found += [on_host(second, norm) for norm in series[233:]]
    assert found == expected
