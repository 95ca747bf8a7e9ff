"""Tests of risk forecasts: coverage, independence, and whether one forecast beats another."""

from __future__ import annotations

import math

import numpy as np
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy import stats
from scipy.special import xlogy

from apps.finance.panel import Floats

Hits = NDArray[np.bool_]


def kupiec(hits: Hits, level: float) -> float:
    """p-value of the proportion-of-failures test: is the share of hits (n,) the level?

    LR = -2 log[(1 - u)^(n - x) u^x / ((1 - x/n)^(n - x) (x/n)^x)], chi-squared with one degree
    of freedom (Kupiec 1995, Journal of Derivatives 3).
    """
    return float(stats.chi2.sf(_unconditional(hits, level), 1))


def christoffersen(hits: Hits, level: float) -> float:
    """p-value of the test of conditional coverage: right share of hits, and no clusters.

    Kupiec's ratio plus that of independence against a first-order Markov chain, chi-squared
    with two degrees of freedom (Christoffersen 1998, International Economic Review 39).
    """
    return float(stats.chi2.sf(_unconditional(hits, level) + _independence(hits), 2))


def _unconditional(hits: Hits, level: float) -> float:
    n, x = len(hits), int(hits.sum())
    return 2.0 * float(_likelihood(n - x, x, x / n) - _likelihood(n - x, x, level))


def _independence(hits: Hits) -> float:
    before, after = hits[:-1], hits[1:]
    counts = [[int((after[before == i] == j).sum()) for j in (0, 1)] for i in (0, 1)]
    quiet, loud = counts
    total = [quiet[0] + loud[0], quiet[1] + loud[1]]
    chain = sum(_likelihood(a, b, b / (a + b)) for a, b in (quiet, loud) if a + b)
    return 2.0 * float(chain - _likelihood(total[0], total[1], total[1] / sum(total)))


def _likelihood(misses: int, hits: int, share: float) -> float:
    """Log-likelihood of independent hits of one share; 0 log 0 counts as 0."""
    return float(xlogy(misses, 1.0 - share) + xlogy(hits, share))


def fissler_ziegel(truth: Floats, var: Floats, shortfall: Floats, level: float) -> Floats:
    """FZ0, the joint loss of value at risk and expected shortfall, elementwise.

    -1{y <= v} (v - y) / (u e) + v / e + log(-e) - 1, both forecasts as returns, e < 0
    (Patton, Ziegel and Chen 2019, Journal of Econometrics 211, equation 6). NaN for e >= 0.
    """
    e = np.where(shortfall < 0, shortfall, np.nan)
    over = np.where(truth <= var, (var - truth) / (level * e), 0.0)
    loss: Floats = var / e + np.log(-e) - 1.0 - over
    return loss


def qlike(variance: Floats, realised: Floats) -> Floats:
    """log h + RV / h, elementwise (Patton 2011, Journal of Econometrics 160)."""
    loss: Floats = np.log(variance) + realised / variance
    return loss


def diebold_mariano(ours: Floats, theirs: Floats, horizon: int = 1) -> tuple[float, float, float]:
    """Mean loss difference ours - theirs (n,), its standard error, and the two-sided p-value.

    Diebold and Mariano 1995, Journal of Business and Economic Statistics 13, with the variance
    of Newey and West over 1.3 sqrt(n) lags (Lazarus, Lewis, Stock and Watson 2018, the same
    journal 36), at least twice the horizon, whose days neighbouring losses share. Negative: ours
    is better. Equal losses give a difference of 0 and a p-value of 1.
    """
    difference = np.asarray(ours) - np.asarray(theirs)
    if not difference.any():
        return 0.0, 0.0, 1.0
    lags = max(math.ceil(1.3 * math.sqrt(len(difference))), 2 * horizon)
    fit = sm.OLS(difference, np.ones(len(difference))).fit(
        cov_type="HAC", cov_kwds={"maxlags": lags}
    )
    mean, error = float(fit.params[0]), float(fit.bse[0])
    return mean, error, float(fit.pvalues[0]) if math.isfinite(error) else math.nan
