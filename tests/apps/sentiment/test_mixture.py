"""The mean of two answers, and the share that validation texts choose."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from apps.errors import UserError
from apps.sentiment.mixture import SHARES, Scores, fit_share, read_share

RNG = np.random.default_rng(0)
RATINGS = pd.Series(RNG.normal(size=50))
NUMBERS = pd.Series(RNG.integers(0, 3, size=50))
NOISE = RNG.normal(size=(50, 1))


def test_a_mean_by_hand():
    scores = Scores(np.array([[1.0, 0.0]]), np.array([[0.0, 2.0]]))
    assert scores.mixed(0.25).tolist() == [[0.75, 0.5]]
    assert Scores(scores.network).mixed(0.0) is scores.network


def test_the_better_of_two_gets_the_larger_share():
    truth = RATINGS.to_numpy()[:, None]
    assert fit_share(Scores(truth, NOISE), RATINGS, None) == min(SHARES)
    assert fit_share(Scores(NOISE, truth), RATINGS, None) == max(SHARES)
    opposite = Scores(truth + NOISE, truth - NOISE)
    assert fit_share(opposite, RATINGS, None) == 0.5, "errors that cancel out"
    logits, names = 9 * np.eye(3)[NUMBERS], ("a", "b", "c")
    assert fit_share(Scores(logits, -logits), NUMBERS, names) == min(SHARES)
    assert fit_share(Scores(-logits, logits), NUMBERS, names) == max(SHARES)


def test_without_a_ridge_there_is_no_share():
    assert fit_share(Scores(NOISE), RATINGS, None) == 0
    assert read_share({}) == 0
    assert read_share({"ridge_share": 0.3}) == 0.3


@pytest.mark.parametrize("share", [None, "half", True, -0.1, 1.5, float("nan")])
def test_a_record_that_holds_no_share(share):
    with pytest.raises(UserError, match="must be a share from 0 to 1"):
        read_share({"ridge_share": share})


def test_an_answer_that_is_not_finite_is_seen():
    assert Scores(NOISE, NOISE).are_finite
    assert not Scores(np.array([[1.0], [np.nan]]), NOISE[:2]).are_finite
