"""Confidence intervals by drawing documents, whose texts belong together, with replacement."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DRAWS = 2000


def interval(
    terms: pd.DataFrame,
    documents: pd.Series,
    statistic: Callable[[Floats], Floats],
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic of sums (Efron and Tibshirani 1993, ch. 13).

    terms: (N, T), what each text adds to the T sums. documents: (N,), what each is part of.
    statistic: maps sums (draws, T) to values (draws,). The draws are the same in every call.
    """
    sums = terms.groupby(documents.to_numpy()).sum().to_numpy(float)
    counts = np.random.default_rng(0).multinomial(
        len(sums), np.full(len(sums), 1 / len(sums)), size=DRAWS
    )
    values = statistic(counts @ sums)
    tail = (1 - level) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return float(low), float(high)


def mean_interval(values: pd.Series, documents: pd.Series) -> tuple[float, float]:
    """Interval of the mean, such as an accuracy of hits."""
    terms = pd.DataFrame({"sum": values.astype(float), "n": 1.0})
    return interval(terms, documents, lambda sums: sums[:, 0] / sums[:, 1])


def correlation_interval(x: pd.Series, y: pd.Series, documents: pd.Series) -> tuple[float, float]:
    """Interval of Pearson's r."""
    terms = pd.DataFrame({"n": 1.0, "x": x, "y": y, "xx": x * x, "yy": y * y, "xy": x * y})
    return interval(terms, documents, _correlation)


def _correlation(sums: Floats) -> Floats:
    n, x, y, xx, yy, xy = sums.T
    with np.errstate(invalid="ignore", divide="ignore"):
        r: Floats = (n * xy - x * y) / np.sqrt((n * xx - x * x) * (n * yy - y * y))
    return r
