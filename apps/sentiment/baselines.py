"""What a practitioner would use instead: no training, a lexicon, linear models of word pairs.

Baselines and networks get the same texts: both learn from those to train on, and the validation
texts say how to read their scores.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from apps.sentiment.corpus import NEUTRAL
from apps.sentiment.text_reader import fit_reading

Floats = NDArray[np.float64]
Classes = tuple[str, ...] | None
BINARY = ("negative", "positive")
NAMES = ("majority", "vader", "tfidf_logistic", "nb_svm", "tfidf_ridge")


class Baseline(ABC):
    """`fit` learns from a table with text and target; `scores` are those that a Reading reads."""

    def __init__(self, classes: Classes) -> None:
        self.classes = classes

    @abstractmethod
    def fit(self, frame: pd.DataFrame) -> Self:
        """Learn from texts; returns itself."""

    @abstractmethod
    def scores(self, texts: pd.Series) -> Floats:
        """A score for each text (N,), or a logit for each class (N, K)."""


class Majority(Baseline):
    """The same answer for every text: how frequent each class is."""

    def fit(self, frame: pd.DataFrame) -> Self:
        """Count the classes."""
        self.logits_ = np.zeros(0)
        if self.classes is not None:
            counts = np.bincount(frame["target"].to_numpy(int), minlength=len(self.classes))
            self.logits_ = np.log(np.maximum(counts, 0.5))
        return self

    def scores(self, texts: pd.Series) -> Floats:
        """Nothing to tell texts apart."""
        if self.classes is None:
            return np.zeros(len(texts))
        return np.tile(self.logits_, (len(texts), 1))


class Vader(Baseline):
    """VADER's compound score (Hutto and Gilbert 2014): a lexicon and rules, never fitted."""

    def fit(self, frame: pd.DataFrame) -> Self:
        """Nothing to learn."""
        return self

    def scores(self, texts: pd.Series) -> Floats:
        """The compound score, from -1 to 1; for two classes as their logits."""
        analyzer = SentimentIntensityAnalyzer()
        compound = np.array([analyzer.polarity_scores(text)["compound"] for text in texts])
        return compound if self.classes is None else np.stack([-compound, compound], axis=1)


class Linear(Baseline):
    """TF-IDF of words and word pairs, and logistic regression, or ridge on the rating."""

    def __init__(self, classes: Classes, ridge: bool = False) -> None:
        super().__init__(classes)
        self.ridge = ridge

    def fit(self, frame: pd.DataFrame) -> Self:
        """Fit features and model; logistic regression on texts that are not neutral."""
        self.features_ = TfidfVectorizer(
            ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=TOKEN
        )
        model = Ridge(1.0, solver="lsqr") if self.ridge else LogisticRegression(C=5, max_iter=1000)
        texts, targets = _judged(frame, self.classes, self.ridge)
        self.model_ = model.fit(self.features_.fit_transform(texts), targets)
        return self

    def scores(self, texts: pd.Series) -> Floats:
        """The rating, or the log-odds."""
        inputs = self.features_.transform(texts)
        if self.ridge:
            predicted: Floats = self.model_.predict(inputs)
            return predicted
        return _logits(self.model_.decision_function(inputs), self.classes)


class NbSvm(Baseline):
    """Logistic regression on naive Bayes features (Wang and Manning 2012, "Baselines and
    bigrams"): which words and pairs occur, times their log-count ratio with smoothing 1.
    """

    def fit(self, frame: pd.DataFrame) -> Self:
        """Fit one model against the rest for each class, or one for two."""
        self.features_ = CountVectorizer(
            ngram_range=(1, 2), min_df=1, binary=True, token_pattern=TOKEN
        )
        texts, targets = _judged(frame, self.classes, ridge=False)
        counts = self.features_.fit_transform(texts)
        numbers = range(1, 2) if len(set(targets)) == 2 else range(len(self.classes or ()))
        self.models_ = [_fit_nb(counts, targets == number) for number in numbers]
        return self

    def scores(self, texts: pd.Series) -> Floats:
        """The log-odds."""
        counts = self.features_.transform(texts)
        odds = [model.decision_function(counts.multiply(r).tocsr()) for r, model in self.models_]
        return _logits(odds[0] if len(odds) == 1 else np.stack(odds, axis=1), self.classes)


# Words of one letter or more, contractions whole; a sign each of the scripts that put no blanks
# between words (Thai, Lao, Burmese, Khmer, Japanese, Chinese), as a network reads them.
_SIGN = "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]"
TOKEN = rf"(?u){_SIGN}|\b\w(?:(?!{_SIGN})[\w'])*(?<!')"


def _fit_nb(counts: csr_matrix, inside: NDArray[np.bool_]) -> tuple[Floats, LogisticRegression]:
    p = 1.0 + np.asarray(counts[inside].sum(axis=0)).ravel()
    q = 1.0 + np.asarray(counts[~inside].sum(axis=0)).ravel()
    ratio = np.log((p / p.sum()) / (q / q.sum()))
    model = LogisticRegression(C=1.0, max_iter=1000)
    return ratio, model.fit(counts.multiply(ratio).tocsr(), inside)


def _judged(frame: pd.DataFrame, classes: Classes, ridge: bool) -> tuple[pd.Series, Floats]:
    """Texts and what to learn: class numbers, the sign of ratings that have one, or ratings."""
    if classes is not None or ridge:
        return frame["text"], frame["target"].to_numpy()
    frame = frame[frame["target"].abs() >= NEUTRAL]
    return frame["text"], (frame["target"] > 0).to_numpy(int)


def _logits(odds: Floats, classes: Classes) -> Floats:
    if classes is None or odds.ndim == 2:
        return odds
    return np.stack([np.zeros_like(odds), odds], axis=1)


def make_baselines(classes: Classes) -> dict[str, Baseline]:
    """The baselines that fit ratings or these classes."""
    models = [Majority(classes), Vader(classes), Linear(classes), NbSvm(classes)]
    found: dict[str, Baseline] = dict(
        zip(NAMES, [*models, Linear(classes, ridge=True)], strict=True)
    )
    if classes is not None:
        del found["tfidf_ridge"]
        if classes != BINARY:
            del found["vader"]
    return found


def predict_baselines(
    train: pd.DataFrame, val: pd.DataFrame, test: pd.DataFrame, classes: Classes
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each baseline's name and its table of predictions of the test texts."""
    for name, baseline in make_baselines(classes).items():
        baseline.fit(train)
        reading = fit_reading(baseline.scores(val["text"]), val["target"], classes)
        scores = baseline.scores(test["text"])
        yield name, pd.concat([test, reading.table(scores)], axis=1)
