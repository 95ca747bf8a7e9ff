"""A strategy against the unclipped runs of the same seeds, and what may be said of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from apps.report.model.grids import Comparison
from apps.report.model.results import Metric, Results
from apps.report.model.runs import UNCLIPPED, Run
from apps.report.statistics.inference import (
    LEVEL,
    Interval,
    detectable,
    holm,
    improvement,
    improvement_interval,
    mean_interval,
    paired_p_value,
)


@dataclass(frozen=True, slots=True)
class Paired:
    """A strategy against unclipped, seed by seed, over the seeds that both completed.

    `gain` is the mean improvement in the metric's own unit (positive: the strategy is better)
    with its bootstrap `interval`, `p_value` that of the paired t-test, corrected for `family`
    comparisons (1: not corrected), and `detectable` the gain that so many seeds would show in 80
    of 100 repetitions. `improvement` is the probability that a run scores better than an
    unclipped one, over all runs that did not fail; one that diverged is worse than any score.
    """

    n: int
    better: int
    worse: int
    gain: float | None
    interval: Interval | None
    p_value: float | None
    detectable: float | None
    improvement: float | None
    improvement_interval: Interval | None
    family: int = 1

    @property
    def verdict(self) -> str:
        """What the seeds say.

        "better" or "worse" where the interval excludes zero and the corrected p-value is below
        0.05, else "noise"; "unknown" for fewer than two seeds.
        """
        if self.gain is None or self.interval is None or self.p_value is None:
            return "unknown"
        excluded = self.interval.low > 0 or self.interval.high < 0
        if not excluded or self.p_value >= 1 - LEVEL:
            return "noise"
        return "better" if self.gain > 0 else "worse"


def against_unclipped(results: Results) -> list[dict[str, Paired]]:
    """Every strategy against unclipped on the trained metric, for each of the comparisons.

    P-values are corrected for the number of all of them (Holm).
    """
    found = [
        {name: pair(one, name, results.trained) for name in one.strategies if name != UNCLIPPED}
        for one in results.grid.comparisons
    ]
    known = [p for pairs in found for one in pairs.values() if (p := one.p_value) is not None]
    corrected = iter(holm(known))
    return [
        {
            name: one
            if one.p_value is None
            else replace(one, p_value=next(corrected), family=len(known))
            for name, one in pairs.items()
        }
        for pairs in found
    ]


def pair(compared: Comparison, clipping: str, metric: Metric) -> Paired:
    """Compare a strategy with the unclipped runs; the p-value is not corrected."""
    gains = gains_of(compared, clipping, metric)
    ours, theirs = (_losses(compared.of(name), metric) for name in (clipping, UNCLIPPED))
    both = bool(ours) and bool(theirs)
    return Paired(
        n=len(gains),
        better=sum(gain > 0 for gain in gains),
        worse=sum(gain < 0 for gain in gains),
        gain=fmean(gains) if gains else None,
        interval=mean_interval(gains),
        p_value=paired_p_value(gains),
        detectable=detectable(gains),
        improvement=improvement(ours, theirs) if both else None,
        improvement_interval=improvement_interval(ours, theirs) if both else None,
    )


def gains_of(compared: Comparison, clipping: str, metric: Metric) -> list[float]:
    """Improvements on the unclipped run of the same seed, where both completed."""
    base = {run.seed: run.score(metric.name) for run in compared.of(UNCLIPPED)}
    gains = []
    for run in compared.of(clipping):
        ours, theirs = run.score(metric.name), base.get(run.seed)
        if ours is not None and theirs is not None:
            gains.append(metric.loss(theirs) - metric.loss(ours))
    return gains


def _losses(runs: Sequence[Run], metric: Metric) -> list[float]:
    """Losses of the runs that did not fail, infinite for those that diverged."""
    scores = [run.score(metric.name) for run in runs if run.status != "failed"]
    return [math.inf if score is None else metric.loss(score) for score in scores]
