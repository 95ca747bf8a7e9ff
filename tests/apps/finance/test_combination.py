"""Several variances made one: by a loop over the days, and by what the weights must do."""

from __future__ import annotations

import math

import numpy as np
import pytest

from apps.finance.backtests import qlike
from apps.finance.combination import LARGEST, MEMORY, RATE, combine

RNG = np.random.default_rng(0)
DAYS = 300
VARIANCES = np.exp(RNG.normal(size=(3, DAYS, 2)) / 2)
RETURNS = RNG.normal(size=(DAYS, 2))


def realised(horizon: int) -> np.ndarray:
    """Sums of squared returns over the days after each, NaN where they are not all known."""
    sums = np.full_like(RETURNS, np.nan)
    for day in range(DAYS - horizon):
        sums[day] = (RETURNS[day + 1 : day + 1 + horizon] ** 2).sum(axis=0)
    return sums


@pytest.mark.parametrize("horizon", [1, 5])
def test_every_day_is_a_mean_weighted_by_the_losses_known_then(horizon):
    sums = realised(horizon)
    losses = qlike(VARIANCES, sums)
    for day in (0, horizon - 1, horizon, 40, DAYS - 1):
        for asset in range(2):
            totals = [0.0, 0.0, 0.0]
            for before in range(day - horizon + 1):
                that = losses[:, before, asset]
                for model in range(3):
                    apart = min(LARGEST, max(-LARGEST, that[model] - that.mean()))
                    totals[model] += MEMORY ** (day - horizon - before) * apart
            weights = [math.exp(-RATE / horizon * total) for total in totals]
            expected = np.dot(weights, VARIANCES[:, day, asset]) / sum(weights)
            found = combine(VARIANCES, sums, horizon)[day, asset]
            assert found == pytest.approx(expected, rel=1e-9)


def test_what_is_not_known_yet_changes_nothing():
    sums, changed = realised(5), realised(5)
    changed[100:] = 7.0
    before, after = combine(VARIANCES, sums, 5), combine(VARIANCES, changed, 5)
    # A filter's sums round alike whatever follows them.
    np.testing.assert_array_equal(before[:105], after[:105])
    assert (before[105:] != after[105:]).any()


def test_the_better_model_gets_the_weight_and_one_day_does_not_take_it():
    right, wrong = np.ones((DAYS, 1)), np.full((DAYS, 1), 4.0)
    sums = np.ones((DAYS, 1))
    found = combine(np.stack([right, wrong]), sums, 1)[:, 0]
    assert found[0] == 2.5
    assert found[-1] < 1.01
    sums[-2] = 1e6  # a crash, for which the larger variance was better by far
    assert combine(np.stack([right, wrong]), sums, 1)[-1, 0] < 1.1


def test_a_day_that_a_model_does_not_know_is_not_known():
    missing = VARIANCES.copy()
    missing[0, :22] = np.nan
    found = combine(missing, realised(1), 1)
    assert np.isnan(found[:22]).all()
    assert np.isfinite(found[22:]).all()
