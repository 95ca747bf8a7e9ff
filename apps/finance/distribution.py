"""Quantiles and expected shortfalls of the distributions that forecasts are made of."""

from __future__ import annotations

import numpy as np
from scipy import stats

from apps.finance.forecast import LEVELS, TAILS
from apps.finance.panel import Floats


def normal(mean: Floats, variance: Floats) -> tuple[Floats, Floats]:
    """Quantiles (..., 21) at LEVELS and shortfalls (..., 2) at TAILS of a normal distribution.

    The shortfall at level u is mean - sd * pdf(q) / u with q the standard quantile.
    """
    at = stats.norm.ppf(LEVELS)
    tail = -stats.norm.pdf(stats.norm.ppf(TAILS)) / np.asarray(TAILS)
    return _spread(mean, variance, at), _spread(mean, variance, tail)


def student(mean: Floats, variance: Floats, freedom: Floats) -> tuple[Floats, Floats]:
    """The same of a Student t distribution with that variance and `freedom` (...) > 2.

    The shortfall of the standard t at level u is -pdf(q) / u * (nu + q^2) / (nu - 1) (McNeil,
    Frey and Embrechts 2015, Quantitative Risk Management, example 2.15).
    """
    nu = np.asarray(freedom)[..., None]
    unit = np.sqrt((nu - 2) / nu)
    q = stats.t.ppf(TAILS, nu)
    tail = -stats.t.pdf(q, nu) / np.asarray(TAILS) * (nu + q**2) / (nu - 1)
    at = stats.t.ppf(LEVELS, nu)
    return _spread(mean, variance, unit * at), _spread(mean, variance, unit * tail)


def empirical(values: Floats) -> tuple[Floats, Floats]:
    """Quantiles (..., 21) and shortfalls (..., 2) of a sample (n, ...), n >= 99.

    The k-th smallest of n values stands for level k / (n + 1), the level that it covers on
    average (Weibull); the plain percentile would be passed too often. The shortfall is the mean
    of the values up to the quantile. Raises ValueError for fewer values, which reach no 1 %.
    """
    if len(values) < 99:
        raise ValueError(f"{len(values)} values do not reach the 1 % quantile; 99 are needed")
    quantiles = np.quantile(values, LEVELS, axis=0, method="weibull")
    tails = [quantiles[LEVELS.index(level)] for level in TAILS]
    shortfall = [np.mean(values, axis=0, where=values <= tail) for tail in tails]
    return np.moveaxis(quantiles, 0, -1), np.stack(shortfall, axis=-1)


def _spread(mean: Floats, variance: Floats, at: Floats) -> Floats:
    spread: Floats = np.asarray(mean)[..., None] + np.sqrt(np.asarray(variance))[..., None] * at
    return spread
