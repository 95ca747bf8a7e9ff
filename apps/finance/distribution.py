"""Quantiles, expected shortfalls and densities of the distributions that forecasts are made of."""

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


def log_density(truth: Floats, variance: Floats, quantiles: Floats, shortfall: Floats) -> Floats:
    """Logarithm of the forecast density at the truth, all (...), quantiles (..., 21).

    Between two quantiles the distribution is a normal's, moved and stretched to pass through
    both (the standard normal quantile of the level is linear in the return), exact for a normal
    forecast and within 0.002 on average for a Student t of 5 degrees of freedom. Beyond the outer
    hundredths it is exponential, with the mean excess of the shortfall (..., 2) at 1 % on both
    sides. No two quantiles count as closer than a thousandth of a standard deviation.
    """
    least = 1e-3 * np.sqrt(variance)[..., None]
    at = np.sum(truth[..., None] > quantiles, axis=-1, keepdims=True)
    above = np.clip(at, 1, len(LEVELS) - 1)
    low, high = (np.take_along_axis(quantiles, k, -1) for k in (above - 1, above))
    bounds = stats.norm.ppf(LEVELS)
    gap, width = bounds[above] - bounds[above - 1], np.maximum(high - low, least)
    inside = stats.norm.logpdf(bounds[above - 1] + gap * (truth[..., None] - low) / width)
    inside += np.log(gap / width)
    excess = np.maximum(quantiles[..., :1] - shortfall[..., :1], least)
    beyond = np.maximum(
        quantiles[..., :1] - truth[..., None], truth[..., None] - quantiles[..., -1:]
    )
    tail = np.log(LEVELS[0] / excess) - beyond / excess
    density: Floats = np.where((at > 0) & (at < len(LEVELS)), inside, tail)[..., 0]
    return density


def _spread(mean: Floats, variance: Floats, at: Floats) -> Floats:
    spread: Floats = np.asarray(mean)[..., None] + np.sqrt(np.asarray(variance))[..., None] * at
    return spread
