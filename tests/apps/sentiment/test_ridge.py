"""The ridge: scikit-learn's answers, fixed while others train, and plain tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.linear_model import Ridge as RidgeRegression
from sklearn.naive_bayes import MultinomialNB

from apps.sentiment.ridge import NgramRidge, NoRidge, Ridge

RNG = np.random.default_rng(0)
INPUTS = sparse.random(60, 25, 0.3, format="csr", rng=RNG)
RATINGS = RNG.normal(size=60)
CLASSES = RNG.integers(0, 3, size=60).astype(float)


def fitted(targets: np.ndarray, num_classes: int | None, alpha: float = 1.0) -> Ridge:
    ridge = Ridge(25, num_classes)
    ridge.set_weights(*NgramRidge(alpha=alpha, bayes=0).fit(INPUTS, targets, num_classes))
    return ridge


@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_ratings_are_those_of_the_normal_equations(alpha):
    exact = RidgeRegression(alpha, solver="cholesky").fit(INPUTS.toarray(), RATINGS)
    found = fitted(RATINGS, None, alpha).scores(INPUTS)
    assert found.shape == (60, 1)
    # lsqr stops at a relative residual of 1e-4; weights are kept in float32.
    np.testing.assert_allclose(found[:, 0], exact.predict(INPUTS.toarray()), atol=1e-3)


def test_classes_are_regressed_on_their_indicators():
    indicators = np.eye(3)[CLASSES.astype(int)]
    exact = RidgeRegression(1.0, solver="cholesky").fit(INPUTS.toarray(), indicators)
    found = fitted(CLASSES, 3).scores(INPUTS)
    expected = 4 * (exact.predict(INPUTS.toarray()) - 1 / 3)
    np.testing.assert_allclose(found, expected, atol=4e-3)


@pytest.mark.parametrize("bayes", [0.25, 1.0])
def test_the_penalty_follows_the_log_count_ratio_of_naive_bayes(bayes):
    inside = CLASSES == 0
    model = MultinomialNB(alpha=1.0).fit(INPUTS.sign(), inside)
    ratio = np.abs(np.diff(model.feature_log_prob_, axis=0)[0])
    scales = (1 - bayes) * ratio.mean() + bayes * ratio
    dense = INPUTS.toarray()
    scales *= np.sqrt((dense**2).sum() / ((dense * scales) ** 2).sum())
    centred = dense - dense.mean(axis=0)
    # The normal equations of |y - X w|^2 + sum (w / s)^2.
    system = centred.T @ centred + np.diag(scales**-2.0)
    expected = np.linalg.solve(system, centred.T @ (inside - inside.mean()))
    targets = np.where(inside, 0.0, 1.0)
    weight, bias = NgramRidge(bayes=bayes).fit(INPUTS, targets, 2)
    # lsqr stops at a relative residual of 1e-4.
    np.testing.assert_allclose(weight[:, 0], expected, atol=1e-3)
    np.testing.assert_allclose(weight[:, 1], -expected, atol=1e-3)
    assert bias[0] == pytest.approx(inside.mean() - 0.5 - dense.mean(axis=0) @ expected, abs=1e-3)


def test_ratings_count_by_how_far_they_are_from_their_mean():
    inputs = sparse.csr_matrix(np.kron(np.eye(4), np.ones((5, 1))))  # five texts of each of 4 words
    ratings = np.repeat([1.0, 0.1, -0.1, -1.0], 5)
    plain, spared = (NgramRidge(bayes=bayes).fit(inputs, ratings, None)[0] for bayes in (0, 1))
    assert abs(spared[0]) > abs(plain[0])
    assert abs(spared[1]) < abs(plain[1])


@pytest.mark.parametrize("ratings", [np.full(60, 2.5), np.zeros(60)])
def test_ratings_that_are_all_the_same(ratings):
    weight, bias = NgramRidge().fit(INPUTS, ratings, None)
    np.testing.assert_allclose(weight, 0, atol=1e-9)
    assert bias == pytest.approx(ratings[:1])


def test_nothing_of_it_is_trained_and_all_of_it_is_saved():
    ridge = fitted(CLASSES, 3)
    assert not list(ridge.parameters())
    again = Ridge(25, 3)
    again.load_state_dict(ridge.state_dict())
    assert (again.scores(INPUTS) == ridge.scores(INPUTS)).all()
    assert {name: t.dtype for name, t in ridge.state_dict().items()} == {
        "weight": torch.float32,
        "bias": torch.float32,
    }


def test_without_ngrams_it_answers_with_the_mean():
    weight, bias = NgramRidge().fit(sparse.csr_matrix((60, 0)), RATINGS, None)
    assert weight.shape == (0, 1)
    assert bias == pytest.approx([RATINGS.mean()])
    weight, bias = NgramRidge().fit(sparse.csr_matrix((60, 0)), CLASSES, 3)
    assert bias == pytest.approx(np.bincount(CLASSES.astype(int)) / 60 - 1 / 3)


def test_settings_that_cannot_work():
    for settings, message in [
        ({"min_texts": 0}, "min_texts must be >= 1"),
        ({"max_size": 0}, "max_size must be >= 1"),
        ({"alpha": 0.0}, "alpha must be a number > 0"),
        ({"alpha": float("nan")}, "alpha must be a number > 0"),
        ({"bayes": -0.1}, "bayes must be a share from 0 to 1"),
        ({"bayes": float("nan")}, "bayes must be a share from 0 to 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            NgramRidge(**settings)
    assert NoRidge().ngrams(["a"]) is None
