"""How each strategy stands a swept setting: where it diverges, where it works, how well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from apps.report.model.formatting import short
from apps.report.model.grids import Comparison
from apps.report.model.results import Metric
from apps.report.model.runs import Run

# A median this close to the best one of the whole sweep counts as working well.
CLOSE = 0.10


@dataclass(frozen=True, slots=True)
class Stand:
    """One strategy over the sweep.

    `best_at` is the value with the lowest validation loss (median over seeds) among those at
    which every run completed, and `best` the test score there: test data choose nothing.
    `close_to_best` holds the values within `CLOSE` of the best score of all.
    """

    runs: int
    diverged: int
    failed: int
    best: float | None
    best_at: float | None
    median: float | None
    close_to_best: list[float]


def by_value(runs: Sequence[Run], axis: str) -> dict[float, list[Run]]:
    """The runs of each value of a numeric key, in rising order."""
    groups: dict[float, list[Run]] = {}
    for run in runs:
        value = run.settings.get(axis)
        if isinstance(value, (int, float)):
            groups.setdefault(value, []).append(run)
    return dict(sorted(groups.items()))


def medians(runs: Sequence[Run], axis: str, metric: Metric) -> dict[float, float]:
    """Median score per value, where every run of that value completed."""
    found = {}
    for value, group in by_value(runs, axis).items():
        values = [score for run in group if (score := run.score(metric.name)) is not None]
        if len(values) == len(group):
            found[value] = median(values)
    return found


def stands(swept: Comparison, axis: str, metric: Metric) -> dict[str, Stand]:
    """How every strategy stands the sweep."""
    groups = {name: swept.of(name) for name in swept.strategies}
    mids = {name: medians(group, axis, metric) for name, group in groups.items()}
    losses = [metric.loss(mid) for found in mids.values() for mid in found.values()]
    limit = min(losses) + CLOSE * abs(min(losses)) if losses else 0.0
    return {name: _stand(group, axis, mids[name], metric, limit) for name, group in groups.items()}


def _stand(
    group: list[Run], axis: str, mids: dict[float, float], metric: Metric, limit: float
) -> Stand:
    scores = [score for run in group if (score := run.score(metric.name)) is not None]
    losses = {
        value: median([run.val_loss for run in runs if run.val_loss is not None])
        for value, runs in by_value(group, axis).items()
        if value in mids and all(run.val_loss is not None for run in runs)
    }
    best_at = min(losses, key=losses.__getitem__, default=None)
    return Stand(
        runs=len(group),
        diverged=sum(run.status == "diverged" for run in group),
        failed=sum(run.status == "failed" for run in group),
        best=None if best_at is None else mids[best_at],
        best_at=best_at,
        median=median(scores) if scores else None,
        close_to_best=[value for value, mid in mids.items() if metric.loss(mid) <= limit],
    )


def value_counts(runs: Sequence[Run], axis: str) -> tuple[int, int]:
    """Values at which at least one run did not complete, and all values."""
    groups = by_value(runs, axis)
    bad = sum(any(run.status != "completed" for run in group) for group in groups.values())
    return bad, len(groups)


@dataclass(frozen=True, slots=True)
class Range:
    """An unbroken range of swept values, from the lowest to the highest."""

    low: float
    high: float

    @property
    def factor(self) -> float | None:
        """The highest over the lowest value; None where that says nothing."""
        return self.high / self.low if self.low > 0 else None

    def wider_than(self, other: Range) -> float | None:
        """How many times another range's factor this one's is."""
        return self.factor / other.factor if self.factor and other.factor else None

    def __str__(self) -> str:
        if self.low == self.high:
            return f"only at {short(self.low)}"
        factor = f" (factor {short(self.factor)})" if self.factor else ""
        return f"{short(self.low)} to {short(self.high)}{factor}"


def working_range(runs: Sequence[Run], axis: str) -> Range | None:
    """The widest unbroken range of values at which every run completed."""
    groups = by_value(runs, axis)
    good = [v for v, group in groups.items() if all(run.status == "completed" for run in group)]
    return _longest(good, list(groups))


def close_range(stand: Stand, runs: Sequence[Run], axis: str) -> Range | None:
    """The widest unbroken range of values that are close to the best score of all."""
    return _longest(stand.close_to_best, list(by_value(runs, axis)))


def _longest(chosen: Sequence[float], grid: Sequence[float]) -> Range | None:
    """The longest unbroken stretch of `chosen` on the grid."""
    longest: list[float] = []
    stretch: list[float] = []
    for value in grid:
        stretch = [*stretch, value] if value in chosen else []
        longest = max(longest, stretch, key=len)
    return Range(longest[0], longest[-1]) if longest else None
