"""Means, spreads and counts over seeds."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from apps.report.model.grids import Comparison
from apps.report.model.results import Metric
from apps.report.model.runs import UNCLIPPED, Run

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Summary:
    """Finite values over seeds; `sd` (n - 1 in the denominator) is None for fewer than two."""

    n: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How the runs of one strategy ended."""

    total: int
    completed: int
    diverged: int
    failed: int


def summarize(values: Iterable[float | None]) -> Summary:
    """Mean, standard deviation and range of the finite values."""
    finite = np.array([v for v in values if v is not None and math.isfinite(v)], dtype=float)
    if finite.size == 0:
        return Summary(0, None, None, None, None)
    sd = float(finite.std(ddof=1)) if finite.size > 1 else None
    return Summary(finite.size, float(finite.mean()), sd, float(finite.min()), float(finite.max()))


def scores(runs: Iterable[Run], metric: Metric) -> Summary:
    """Test scores of the completed runs."""
    return summarize(run.score(metric.name) for run in runs)


def count(runs: Iterable[Run]) -> Counts:
    """Completed, diverged and failed runs."""
    ends = [run.status for run in runs]
    return Counts(len(ends), ends.count("completed"), ends.count("diverged"), ends.count("failed"))


def identical(compared: Comparison, clipping: str, metrics: Iterable[Metric]) -> bool:
    """Whether every seed has the very test scores of its unclipped twin."""
    timed = {metric.name for metric in metrics if not metric.repeatable}

    def outcome(run: Run) -> tuple[object, ...]:
        return run.status, {name: run.test[name] for name in run.test if name not in timed}

    base = {run.seed: outcome(run) for run in compared.of(UNCLIPPED)}
    runs = compared.of(clipping)
    return bool(runs) and all(base.get(run.seed) == outcome(run) for run in runs)


def clip_rate(runs: Iterable[Run]) -> float | None:
    """Share of steps clipped, weighted by the runs' steps; None where nobody measured it."""
    known = [(run.clip_rate, run.steps) for run in runs if run.clip_rate is not None]
    steps = sum(n for _, n in known)
    if not known or steps == 0:
        return None
    return sum(rate * n for rate, n in known) / steps


def best(candidates: Mapping[Name, float | None], metric: Metric) -> set[Name]:
    """The names whose value is best; values that print alike share the place."""
    losses = {
        name: metric.loss(round(value, metric.decimals))
        for name, value in candidates.items()
        if value is not None and math.isfinite(value)
    }
    lowest = min(losses.values(), default=math.nan)
    return {name for name, loss in losses.items() if math.isclose(loss, lowest, abs_tol=1e-12)}
