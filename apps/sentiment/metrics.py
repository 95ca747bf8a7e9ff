"""Scores of predicted sentiment, from scikit-learn, scipy and torchmetrics."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score
from torchmetrics.functional.classification import multiclass_calibration_error

from apps.sentiment.corpus import NEUTRAL, POLARITIES, polarity

Floats = NDArray[np.float64]
BINS = 15


def classes_of(frame: pd.DataFrame) -> list[str]:
    """The classes that a table of predictions has probabilities of."""
    return [name.removeprefix("p_") for name in frame.columns if name.startswith("p_")]


def is_rated(frame: pd.DataFrame) -> bool:
    """Whether the truth of a table of predictions is a rating."""
    return "score" in frame.columns


def decided(frame: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.intp], Floats]:
    """The rows that have a class, its number (N,), and probabilities (N, K).

    Of ratings those at least 0.5 from neutral count, as negative (0) or positive (1), with
    the odds of these two.
    """
    if not is_rated(frame):
        probabilities = frame[[f"p_{name}" for name in classes_of(frame)]].to_numpy(float)
        return frame, frame["target"].to_numpy(np.intp), probabilities
    frame = frame[frame["target"].abs() >= NEUTRAL]
    pair = frame[["p_negative", "p_positive"]].to_numpy(float)
    return frame, (frame["target"] > 0).to_numpy(np.intp), pair / pair.sum(axis=1, keepdims=True)


def evaluate(frame: pd.DataFrame) -> dict[str, float]:
    """Score a table of predictions; see `Reading.table` for its columns.

    accuracy, macro_f1, log_loss, auc (one against the rest, macro, for more than two classes)
    and ece (expected calibration error of the predicted class, 15 equal bins; Guo et al. 2017)
    over texts that are negative or positive by their rating, or over all texts of classes.
    accuracy_3, macro_f1_3: of negative, neutral and positive; r: Pearson's r of score and
    rating; both for ratings alone, over all texts. accuracy_<domain>, auc_<domain>, r_<domain>:
    of each domain. What is not defined is NaN, and all is if a prediction is not finite.
    """
    scores = _scores(frame)
    domains = frame["domain"].unique()
    for domain in domains if len(domains) > 1 else []:
        inside = _scores(frame[frame["domain"] == domain])
        scores |= {f"{name}_{domain}": inside[name] for name in ("accuracy", "auc", "r")}
    return scores


NAMES = ("accuracy", "macro_f1", "auc", "log_loss", "ece", "accuracy_3", "macro_f1_3", "r")


def _scores(frame: pd.DataFrame) -> dict[str, float]:
    scores = dict.fromkeys(NAMES, math.nan)
    _, truth, probabilities = decided(frame)
    if not len(truth) or not np.isfinite(probabilities).all():
        return scores
    numbers = list(range(probabilities.shape[1]))
    called = probabilities.argmax(axis=1)
    scores["accuracy"] = float(accuracy_score(truth, called))
    scores["macro_f1"] = _macro_f1(truth, called, numbers)
    scores["log_loss"] = float(log_loss(truth, probabilities, labels=numbers))
    scores["ece"] = _calibration_error(truth, probabilities)
    if set(truth) == set(numbers):
        binary = len(numbers) == 2
        scores["auc"] = float(
            roc_auc_score(truth, probabilities[:, 1])
            if binary
            else roc_auc_score(truth, probabilities, multi_class="ovr")
        )
    if is_rated(frame):
        three = [POLARITIES.index(name) for name in frame["predicted"]]
        wanted = polarity(frame["target"])
        scores["accuracy_3"] = float(accuracy_score(wanted, three))
        scores["macro_f1_3"] = _macro_f1(wanted, three, [0, 1, 2])
        if min(frame["score"].nunique(), frame["target"].nunique()) > 1:
            scores["r"] = float(pearsonr(frame["score"], frame["target"]).statistic)
    return scores


def _macro_f1(truth: NDArray[np.intp], called: object, numbers: list[int]) -> float:
    return float(f1_score(truth, called, labels=numbers, average="macro", zero_division=0.0))


def _calibration_error(truth: NDArray[np.intp], probabilities: Floats) -> float:
    return float(
        multiclass_calibration_error(
            torch.tensor(probabilities),
            torch.tensor(truth),
            num_classes=probabilities.shape[1],
            n_bins=BINS,
        )
    )
