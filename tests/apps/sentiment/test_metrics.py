"""Metrics against scikit-learn, scipy and sums by hand; intervals against scipy's bootstrap."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap, pearsonr
from sklearn import metrics

from apps.sentiment.bootstrap import correlation_interval, mean_interval
from apps.sentiment.metrics import evaluate


def called(values: pd.Series, low: float, high: float) -> np.ndarray:
    return np.select([values <= low, values >= high], ["negative", "positive"], "neutral")


def rated(n: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    target = rng.normal(0, 1.5, n).round(1)
    score = target + rng.normal(0, 1, n)
    p = 1 / (1 + np.exp(-score))
    return pd.DataFrame(
        {
            "domain": np.where(np.arange(n) % 4 > 0, "a", "b"),
            "document": np.arange(n) // 4,
            "target": target,
            "score": score,
            "p_negative": 0.8 * (1 - p),
            "p_neutral": 0.2,
            "p_positive": 0.8 * p,
            "predicted": called(score, -0.4, 0.6),
        }
    )


def test_ratings_score_as_in_scikit_learn():
    frame = rated()
    scores = evaluate(frame)
    polar = frame[frame["target"].abs() >= 0.5]
    truth, p = polar["target"] > 0, polar["p_positive"] / 0.8
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(truth, p > 0.5))
    assert scores["macro_f1"] == pytest.approx(metrics.f1_score(truth, p > 0.5, average="macro"))
    assert scores["auc"] == pytest.approx(metrics.roc_auc_score(truth, p))
    assert scores["log_loss"] == pytest.approx(metrics.log_loss(truth, p))
    three = called(frame["target"], -0.5, 0.5)
    assert scores["accuracy_3"] == pytest.approx((three == frame["predicted"]).mean())
    assert scores["macro_f1_3"] == pytest.approx(
        metrics.f1_score(three, frame["predicted"], average="macro")
    )
    assert scores["r"] == pytest.approx(pearsonr(frame["score"], frame["target"]).statistic)
    only = evaluate(frame[frame["domain"] == "b"])
    assert (scores["accuracy_b"], scores["r_b"]) == (only["accuracy"], only["r"])


def test_classes_score_as_in_scikit_learn():
    rng = np.random.default_rng(2)
    p = rng.dirichlet([1, 1, 1], 300)
    truth = np.array([rng.choice(3, p=row) for row in p])
    frame = pd.DataFrame(p, columns=["p_x", "p_y", "p_z"]).assign(target=truth, domain="one")
    frame["predicted"] = np.array(["x", "y", "z"])[p.argmax(axis=1)]
    scores = evaluate(frame)
    assert scores["accuracy"] == pytest.approx((truth == p.argmax(axis=1)).mean())
    assert scores["auc"] == pytest.approx(metrics.roc_auc_score(truth, p, multi_class="ovr"))
    assert scores["log_loss"] == pytest.approx(metrics.log_loss(truth, p))
    assert np.isnan(scores["r"])
    assert np.isnan(scores["accuracy_3"])


def test_calibration_error_by_hand():
    p = np.array([0.9] * 10 + [0.7] * 10)
    truth = np.array([1] * 6 + [0] * 4 + [1] * 8 + [0] * 2)
    frame = pd.DataFrame({"p_no": 1 - p, "p_yes": p, "target": truth, "domain": "one"})
    # 10 texts given 0.9 of which 60 % are so, 10 given 0.7 of which 80 % are.
    assert evaluate(frame)["ece"] == pytest.approx(0.5 * 0.3 + 0.5 * 0.1)


def test_one_class_or_a_prediction_that_is_not_finite_has_no_score_that_is_not_defined():
    frame = rated()
    positive = evaluate(frame[frame["target"] > 0])
    assert np.isnan(positive["auc"])
    assert np.isfinite(positive["log_loss"])
    broken = evaluate(frame.assign(p_positive=np.nan))
    assert all(np.isnan(value) for value in broken.values())


def test_intervals_equal_scipys_where_every_text_is_its_own_document():
    frame = rated()
    x, y = frame["score"], frame["target"]
    hits = x > 0
    alone = pd.Series(range(len(frame)))
    how = {"n_resamples": 4000, "method": "percentile", "rng": 0}
    expected = bootstrap((hits.astype(float),), np.mean, **how)
    found = mean_interval(hits, alone)
    assert found == pytest.approx(tuple(expected.confidence_interval), abs=0.008)
    expected = bootstrap(
        (x, y), lambda a, b, axis: pearsonr(a, b, axis=axis).statistic, paired=True, **how
    )
    found = correlation_interval(x, y, alone)
    assert found == pytest.approx(tuple(expected.confidence_interval), abs=0.012)


def test_texts_of_one_document_count_as_one():
    rng = np.random.default_rng(0)
    hits = pd.Series(np.repeat(rng.random(50) < 0.8, 10))
    low, high = mean_interval(hits, pd.Series(np.repeat(np.arange(50), 10)))
    alone = mean_interval(hits, pd.Series(range(500)))
    assert high - low > 2 * (alone[1] - alone[0])
