from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from apps.finance.backtests import (
    christoffersen,
    diebold_mariano,
    fissler_ziegel,
    kupiec,
    qlike,
)


def hits(*rows: int, n: int = 250) -> np.ndarray:
    found = np.zeros(n, dtype=bool)
    found[list(rows)] = True
    return found


@pytest.mark.parametrize(
    # Kupiec (1995), table 3: 95 % non-rejection regions of T = 255, 510, 1000 at p = .01.
    ("n", "inside", "outside"),
    [(255, (1, 6), 7), (510, (2, 10), 11), (1000, (5, 16), 17)],
)
def test_kupiec_agrees_with_his_table(n, inside, outside):
    for x in range(inside[0], inside[1] + 1):
        assert kupiec(hits(*range(x), n=n), 0.01) > 0.05
    assert kupiec(hits(*range(outside), n=n), 0.01) < 0.05


def test_kupiec_by_hand():
    # 10 hits in 250 days at 1 %: -2 ln[.99^240 .01^10 / (.96^240 .04^10)] = 12.955...
    ratio = -2 * (240 * math.log(0.99 / 0.96) + 10 * math.log(0.01 / 0.04))
    assert kupiec(hits(*range(10)), 0.01) == pytest.approx(stats.chi2.sf(ratio, 1))
    # No hit at all is not proof of a wrong level in so few days: -2 * 250 ln .99 = 5.03.
    assert kupiec(hits(), 0.01) == pytest.approx(stats.chi2.sf(-500 * math.log(0.99), 1))


def test_christoffersen_by_hand():
    # 0 1 1 0 0: transitions 01, 11, 10, 00, so p01 = p11 = 1/2 and p = 2/4: no clusters.
    found = np.array([False, True, True, False, False])
    coverage = 2 * (2 * math.log(0.4 / 0.3) + 3 * math.log(0.6 / 0.7))
    assert christoffersen(found, 0.3) == pytest.approx(stats.chi2.sf(coverage, 2))


def test_clusters_are_seen_where_the_share_is_right():
    spread, clustered = hits(*range(5, 250, 20)), hits(*range(100, 113))
    assert spread.sum() == clustered.sum() == 13
    assert kupiec(clustered, 0.05) == kupiec(spread, 0.05) > 0.5
    assert christoffersen(clustered, 0.05) < 1e-6
    assert christoffersen(spread, 0.05) > 0.2


@pytest.mark.parametrize("level", [0.01, 0.05])
def test_all_and_no_hits_give_a_number(level):
    for found in (hits(), hits(*range(250))):
        assert 0 <= kupiec(found, level) <= 1
        assert 0 <= christoffersen(found, level) <= 1


@pytest.mark.parametrize("level", [0.01, 0.05])
def test_tests_have_their_size(level):
    rng = np.random.default_rng(0)
    draws = rng.random((400, 2000)) < level
    rejected = np.mean([kupiec(draw, level) < 0.05 for draw in draws])
    assert 0.02 < rejected < 0.08
    assert np.mean([christoffersen(draw, level) < 0.05 for draw in draws]) < 0.1


def test_fissler_ziegel_by_hand():
    # No hit: v / e + log(-e) - 1. A hit adds (y - v) / (u e), positive.
    plain = fissler_ziegel(np.array([1.0]), np.array([-2.0]), np.array([-3.0]), 0.05)
    assert plain[0] == pytest.approx(2 / 3 + math.log(3) - 1)
    broken = fissler_ziegel(np.array([-4.0]), np.array([-2.0]), np.array([-3.0]), 0.05)
    assert broken[0] == pytest.approx(plain[0] + 2 / (0.05 * 3))
    assert math.isnan(fissler_ziegel(np.array([1.0]), np.array([0.5]), np.array([0.1]), 0.05)[0])


def test_fissler_ziegel_is_least_at_the_true_tail():
    rng, level = np.random.default_rng(0), 0.05
    sample = rng.standard_normal(200_000)
    found = optimize.minimize(
        lambda x: fissler_ziegel(sample, x[0], x[1], level).mean(),
        [-1.0, -3.0],
        method="Nelder-Mead",
    ).x
    var = stats.norm.ppf(level)
    assert found == pytest.approx([var, -stats.norm.pdf(var) / level], abs=0.03)


def test_qlike_is_least_at_the_true_variance():
    realised = 2.5 * np.random.default_rng(0).standard_normal(200_000) ** 2
    losses = {h: qlike(np.full_like(realised, h), realised).mean() for h in (2.0, 2.5, 3.0)}
    assert min(losses, key=losses.__getitem__) == 2.5
    assert qlike(np.array([4.0]), np.array([8.0]))[0] == pytest.approx(math.log(4) + 2)


@settings(max_examples=20)
@given(seed=st.integers(0, 999), shift=st.floats(-1, 1), horizon=st.sampled_from([1, 22]))
def test_diebold_mariano_agrees_with_newey_and_west(seed, shift, horizon):
    ours, theirs = np.random.default_rng(seed).normal([[shift], [0.0]], size=(2, 300))
    d = ours - theirs
    centred = d - d.mean()
    lags = 44 if horizon == 22 else 23  # 1.3 sqrt(300) = 22.5
    weights = [1 - lag / (lags + 1) for lag in range(1, lags + 1)]
    covariances = [(centred[lag:] * centred[:-lag]).sum() for lag in range(1, lags + 1)]
    long_run = (centred**2).sum() + 2 * np.dot(weights, covariances)
    mean, error, p = diebold_mariano(ours, theirs, horizon)
    assert mean == pytest.approx(d.mean())
    assert error == pytest.approx(math.sqrt(long_run) / 300)
    assert p == pytest.approx(2 * stats.norm.sf(abs(mean / error)), abs=1e-12)


@pytest.mark.parametrize("horizon", [1, 5, 22])
def test_diebold_mariano_has_its_size_where_horizons_overlap(horizon):
    rng = np.random.default_rng(0)
    rejected = 0
    for _ in range(200):
        steps = np.convolve(rng.standard_normal(2500 + horizon - 1), np.ones(horizon), "valid")
        rejected += diebold_mariano(steps, np.zeros(2500), horizon)[2] < 0.05
    assert rejected / 200 < 0.1


def test_equal_forecasts_do_not_differ():
    assert diebold_mariano(np.ones(30), np.ones(30)) == (0.0, 0.0, 1.0)
