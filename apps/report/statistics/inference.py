"""What a sample of a few seeds allows to conclude.

Interquartile mean and probability of improvement after Agarwal et al. 2021, Deep reinforcement
learning at the edge of the statistical precipice (arXiv:2108.13264), section 4.3 and appendix A.3.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

LEVEL = 0.95
_RESAMPLES = 9999
_SEED = 0


@dataclass(frozen=True, slots=True)
class Interval:
    """The ends of a 95 % interval."""

    low: float
    high: float


def mean_interval(values: Sequence[float]) -> Interval | None:
    """The bootstrap interval of a mean (BCa, 9999 resamples, fixed seed); None for one value.

    Of values that are all equal it has no width. With few values it is too narrow: three have ten
    different resamples.
    """
    sample = np.asarray(values, dtype=float)
    if sample.size < 2:
        return None
    if np.ptp(sample) == 0:
        return Interval(float(sample[0]), float(sample[0]))
    return _bootstrap((sample,), np.mean, "BCa")


def _bootstrap(
    samples: tuple[NDArray[np.float64], ...],
    statistic: Callable[..., Any],
    method: str,
    *,
    paired: bool = False,
) -> Interval:
    found = stats.bootstrap(
        samples,
        statistic,
        n_resamples=_RESAMPLES,
        confidence_level=LEVEL,
        method=method,
        paired=paired,
        vectorized=True,
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return Interval(float(found.low), float(found.high))


def paired_p_value(differences: Sequence[float]) -> float | None:
    """Two-sided p-value of Student's paired t-test that the mean difference is zero."""
    sample = np.asarray(differences, dtype=float)
    if sample.size < 2:
        return None
    if np.ptp(sample) == 0:  # the statistic is 0/0 or infinite
        return 1.0 if sample[0] == 0 else 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nearly equal values: precision is lost
        return float(stats.ttest_1samp(sample, 0.0).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979)."""
    if not p_values:
        return []
    return [float(p) for p in multipletests(p_values, method="holm")[1]]


def detectable(differences: Sequence[float]) -> float | None:
    """The mean difference that so many pairs of this spread show in 80 of 100 repetitions.

    Of the two-sided paired t-test at 5 %; None for fewer than two pairs or pairs without spread.
    """
    sample = np.asarray(differences, dtype=float)
    if sample.size < 2 or np.ptp(sample) == 0:
        return None
    effect = TTestPower().solve_power(nobs=sample.size, alpha=1 - LEVEL, power=0.8)
    return float(np.ravel(effect)[0] * sample.std(ddof=1))


def improvement(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The probability that a run of ours has a smaller loss than one of theirs.

    Over all pairs of runs, ties counted half: the Mann-Whitney statistic divided by its largest
    value. A lost run counts as an infinite loss.
    """
    return float(_improvement(np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)))


def _improvement(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], axis: int = -1
) -> NDArray[np.float64]:
    mine = np.moveaxis(ours, axis, -1)[..., :, None]
    others = np.moveaxis(theirs, axis, -1)[..., None, :]
    wins = (mine < others) + 0.5 * (mine == others)
    return np.asarray(wins.mean(axis=(-2, -1)))


def improvement_interval(ours: Sequence[float], theirs: Sequence[float]) -> Interval | None:
    """The percentile bootstrap interval of `improvement`, seeds resampled in pairs if they are."""
    samples = (np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float))
    if min(sample.size for sample in samples) < 2:
        return None
    return _bootstrap(
        samples, _improvement, "percentile", paired=samples[0].size == samples[1].size
    )


def interquartile_mean(values: Sequence[float]) -> float | None:
    """The mean of the middle half; of fewer than four values the mean of all."""
    return float(stats.trim_mean(values, 0.25)) if len(values) else None


def share_interval(number: int, total: int) -> Interval | None:
    """Wilson's interval of a share, such as of the runs that diverged."""
    if total == 0:
        return None
    found = stats.binomtest(number, total).proportion_ci(LEVEL, method="wilson")
    return Interval(float(found.low), float(found.high))
