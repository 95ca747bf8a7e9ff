"""What a score means, learnt on validation texts: probabilities, polarity, intensity.

Networks and baselines are read alike. For ratings the score is one number a text, whatever its
scale; for classes it is a logit for each class.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from apps.errors import UserError
from apps.sentiment.corpus import POLARITIES, SCALE, polarity

Floats = NDArray[np.float64]
_IMPOSSIBLE = -50.0  # logit of a polarity that no validation text has


class Reading(ABC):
    """Turns scores into a table with a column `p_<class>` for each class and `predicted`."""

    classes: tuple[str, ...]

    @abstractmethod
    def table(self, scores: Floats) -> pd.DataFrame:
        """Probabilities and the predicted class of each score; for ratings `score`, too."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a JSON file."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]


@dataclass(frozen=True)
class RatingReading(Reading):
    """Scores of ratings.

    slope, offset: of the line from score to rating. weights, biases: of the multinomial logistic
    regression from rating to polarity, which gives the probabilities. low, high: the ratings up
    to and from which a text is called negative and positive, by the best macro F1.
    """

    slope: float
    offset: float
    weights: tuple[float, ...]
    biases: tuple[float, ...]
    low: float
    high: float

    classes = POLARITIES

    def table(self, scores: Floats) -> pd.DataFrame:
        """Probabilities of the polarities, `predicted` among them, and `score`, a rating."""
        ratings = self.slope * scores.reshape(-1) + self.offset
        logits = ratings[:, None] * np.array(self.weights) + np.array(self.biases)
        named = np.where(ratings <= self.low, 0, np.where(ratings >= self.high, 2, 1))
        return _table(softmax(logits, axis=1), self.classes, named).assign(
            score=np.clip(ratings, -SCALE, SCALE)
        )


@dataclass(frozen=True)
class ClassReading(Reading):
    """Logits of classes, divided by a temperature (Guo et al. 2017, arXiv:1706.04599)."""

    classes: tuple[str, ...]
    temperature: float

    def table(self, scores: Floats) -> pd.DataFrame:
        """Probabilities of the classes and the most probable one."""
        probabilities = softmax(scores / self.temperature, axis=1)
        return _table(probabilities, self.classes, probabilities.argmax(axis=1))


def fit_reading(scores: Floats, targets: pd.Series, classes: tuple[str, ...] | None) -> Reading:
    """Learn to read scores, (N,) or (N, 1) of ratings or (N, K) of classes; all finite."""
    if classes is None:
        return _fit_ratings(scores.reshape(-1), targets)
    numbers = targets.to_numpy(int)

    def loss(log_temperature: float) -> float:
        logs = log_softmax(scores / math.exp(log_temperature), axis=1)
        return -float(logs[np.arange(len(numbers)), numbers].mean())

    # Validation texts that are all called rightly would have it vanish.
    found = minimize_scalar(loss, bounds=(-1.0, 5.0), method="bounded")
    return ClassReading(classes, math.exp(found.x))


def _fit_ratings(scores: Floats, targets: pd.Series) -> RatingReading:
    spread = float(scores.std())
    slope, offset = 0.0, float(targets.mean())
    if spread > 1e-9 * max(1.0, abs(float(scores.mean()))):
        slope, offset = np.polyfit(scores, targets, 1).tolist()
    ratings, named = slope * scores + offset, polarity(targets)
    model = LogisticRegression(C=1e4, max_iter=1000).fit(ratings[:, None], named)
    weights, biases = _three(model)
    low, high = _thresholds(ratings, named)
    return RatingReading(slope, offset, weights, biases, low, high)


def _three(model: LogisticRegression) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Weight and bias of each polarity, of which the model may know two or three."""
    slopes, starts = model.coef_[:, 0], model.intercept_
    if len(model.classes_) == 2:  # scikit-learn gives the second one's odds alone
        slopes, starts = np.array([0.0, slopes[0]]), np.array([0.0, starts[0]])
    weights, biases = np.zeros(3), np.full(3, _IMPOSSIBLE)
    weights[model.classes_], biases[model.classes_] = slopes, starts
    return tuple(weights.tolist()), tuple(biases.tolist())


def _thresholds(ratings: Floats, named: NDArray[Any]) -> tuple[float, float]:
    """The two ratings between which a text is called neutral, by the best macro F1."""
    candidates = np.unique(np.quantile(ratings, np.linspace(0.02, 0.98, 49)))
    scores = [macro_f1(ratings, named, low, candidates[i:]) for i, low in enumerate(candidates)]
    i = int(np.argmax([row.max() for row in scores]))
    return float(candidates[i]), float(candidates[i + int(scores[i].argmax())])


def macro_f1(ratings: Floats, named: NDArray[Any], low: float, highs: Floats) -> Floats:
    """Macro F1, as scikit-learn's, for each of the upper thresholds at once."""
    negative = ratings <= low
    positive = (ratings >= highs[:, None]) & ~negative
    neither = ~(positive | negative)
    total, present = np.zeros(len(highs)), np.zeros(len(highs))
    for polarity_number, called in enumerate((negative[None], neither, positive)):
        truly = named == polarity_number
        counted = truly.sum() + called.sum(axis=1)
        total += 2 * (called & truly).sum(axis=1) / np.maximum(counted, 1)
        present += counted > 0
    return np.asarray(total / present)


def _table(probabilities: Floats, classes: tuple[str, ...], named: NDArray[Any]) -> pd.DataFrame:
    table = pd.DataFrame(probabilities, columns=[f"p_{name}" for name in classes])
    return table.assign(predicted=np.array(classes)[named])


def read_reading(record: Mapping[str, Any] | None) -> Reading:
    """The inverse of `to_dict`; UserError for a record that is none."""
    plain: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in (record or {}).items()
    }
    try:
        return ClassReading(**plain) if "classes" in plain else RatingReading(**plain)
    except TypeError as error:
        raise UserError(f"data.json of the run does not say how to read scores: {error}") from error
