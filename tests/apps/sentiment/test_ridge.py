"""The ridge: scikit-learn's answers, fixed while others train, and plain tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.linear_model import Ridge as RidgeRegression

from apps.sentiment.ridge import NgramRidge, NoRidge, Ridge

RNG = np.random.default_rng(0)
INPUTS = sparse.random(60, 25, 0.3, format="csr", rng=RNG)
RATINGS = RNG.normal(size=60)
CLASSES = RNG.integers(0, 3, size=60).astype(float)


def fitted(targets: np.ndarray, num_classes: int | None, alpha: float = 1.0) -> Ridge:
    ridge = Ridge(25, num_classes)
    ridge.set_weights(*NgramRidge(alpha=alpha).fit(INPUTS, targets, num_classes))
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
    ]:
        with pytest.raises(ValueError, match=message):
            NgramRidge(**settings)
    assert NoRidge().ngrams(["a"]) is None
