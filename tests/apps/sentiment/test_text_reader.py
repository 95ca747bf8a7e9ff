from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from apps.errors import UserError
from apps.sentiment.text_reader import fit_reading, macro_f1, read_reading


def rated(n: int = 3000) -> tuple[np.ndarray, pd.Series]:
    """Scores on a scale of their own, and ratings around them."""
    rng = np.random.default_rng(0)
    ratings = np.clip(rng.normal(0.2, 1.5, n), -4, 4)
    return 10 + 5 * (ratings + rng.normal(0, 0.7, n)), pd.Series(ratings)


def test_scores_of_any_scale_are_read_as_ratings_and_calibrated():
    scores, ratings = rated()
    table = fit_reading(scores, ratings, None).table(scores)
    assert np.corrcoef(table["score"], ratings)[0, 1] == pytest.approx(
        np.corrcoef(scores, ratings)[0, 1], abs=0.01
    )
    assert abs((table["score"] - ratings).mean()) < 0.02
    probabilities = table[["p_negative", "p_neutral", "p_positive"]]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    # The mean probability of a class is its share: the first condition of a maximum likelihood.
    assert probabilities["p_positive"].mean() == pytest.approx((ratings >= 0.5).mean(), abs=1e-3)
    assert (table["predicted"] == "neutral").any()
    assert table.sort_values("score")["predicted"].is_monotonic_increasing, "the order of the ABC"


def test_a_reading_survives_a_json_file():
    scores, ratings = rated()
    logits = np.stack([scores, -scores, 0 * scores], axis=1)
    for found in (
        fit_reading(scores, ratings, None),
        fit_reading(logits, pd.Series(np.arange(3000) % 3), ("a", "b", "c")),
    ):
        again = read_reading(json.loads(json.dumps(found.to_dict())))
        given = logits if "classes" in found.to_dict() else scores
        pd.testing.assert_frame_equal(again.table(given), found.table(given))


@given(
    called=st.lists(st.tuples(st.integers(-4, 4), st.integers(0, 2)), min_size=1, max_size=30),
    low=st.integers(-4, 4),
    highs=st.lists(st.integers(0, 4), min_size=1, max_size=4),
)
def test_macro_f1_of_thresholds_is_scikit_learns(called, low, highs):
    ratings, named = np.array(called).T
    above = np.array([low + step for step in highs])
    found = macro_f1(ratings.astype(float), named, low, above)
    for high, score in zip(above, found, strict=True):
        predicted = np.where(ratings <= low, 0, np.where(ratings >= high, 2, 1))
        expected = f1_score(named, predicted, average="macro", zero_division=0.0)
        assert score == pytest.approx(expected, rel=1e-12)


def test_without_neutral_texts_nothing_is_neutral_by_probability():
    scores, ratings = rated()
    kept = ratings.abs() >= 0.5
    table = fit_reading(scores[kept], ratings[kept], None).table(scores[kept])
    assert table["p_neutral"].max() < 1e-6


def test_scores_that_tell_nothing_get_the_shares():
    _, ratings = rated()
    table = fit_reading(np.zeros(3000), ratings, None).table(np.zeros(5))
    assert table["p_positive"].nunique() == 1
    assert table["p_positive"][0] == pytest.approx((ratings >= 0.5).mean(), abs=1e-3)


def test_temperature_undoes_overconfidence_and_keeps_the_order():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (4000, 3))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = pd.Series([rng.choice(3, p=row) for row in p])
    reading = fit_reading(7 * logits, labels, ("a", "b", "c"))
    assert reading.temperature == pytest.approx(7, rel=0.1)
    table = reading.table(7 * logits)
    np.testing.assert_allclose(table[["p_a", "p_b", "p_c"]], p, atol=0.05)
    assert (table["predicted"] == np.array(["a", "b", "c"])[logits.argmax(axis=1)]).all()


@pytest.mark.parametrize("record", [None, {}, {"slope": 1.0}, {"classes": ["a"]}])
def test_a_record_that_is_no_reading(record):
    with pytest.raises(UserError, match="does not say how to read scores"):
        read_reading(record)
