"""What a sweep taught, in words for somebody who reads a report for the first time."""

from __future__ import annotations

from apps.report.model.formatting import fixed, label, listing, short
from apps.report.model.grids import Comparison
from apps.report.model.results import Metric, Results
from apps.report.model.runs import UNCLIPPED
from apps.report.statistics.summaries import clip_rate
from apps.report.statistics.sweep import stands, value_counts


def learnt(results: Results) -> list[str]:
    """Where training broke without clipping and with it, and what was scored; [] of no sweep."""
    sweep = results.sweep
    if sweep is None or sweep.axis is None:
        return []
    swept = [one for one in sweep.along_axis if UNCLIPPED in one.strategies[:-1]]
    found = [_lost(sweep.axis, one) + _scored(sweep.axis, one, results.primary) for one in swept]
    return [*found, *_never_acted(results)] if found else []


def _lost(axis: str, swept: Comparison) -> str:
    """At how many values runs were lost."""
    counts = {name: value_counts(swept.of(name), axis) for name in swept.strategies}
    bad, total = counts.pop(UNCLIPPED)
    same: dict[int, list[str]] = {}
    for name, (lost, _) in counts.items():
        same.setdefault(lost, []).append(label(name))
    parts = [f"with {listing(names)} at {lost or 'none'}" for lost, names in same.items()]
    optimizers = listing(sorted({run.optimizer for run in swept.runs}))
    return (
        f"Without clipping {optimizers} lost runs at {bad or 'none'} of {total} {_values(axis)}, "
        f"{listing(parts)}."
    )


def _scored(axis: str, swept: Comparison, metric: Metric) -> str:
    """The score of each strategy where it validates best."""
    parts = [
        f"{label(name)} {fixed(stand.best, metric.decimals)} (at {short(stand.best_at)})"
        for name, stand in stands(swept, axis, metric).items()
        if stand.best is not None and stand.best_at is not None
    ]
    if not parts:
        return ""
    return f" {metric.label} where each validates best: {listing(parts)}."


def _never_acted(results: Results) -> list[str]:
    """Said where the clipped runs of the comparison proper are unclipped ones in truth."""
    shown = results.shown
    clipped = [name for name in shown.strategies if name != UNCLIPPED]
    if not clipped or any(clip_rate(shown.of(name)) != 0 for name in clipped):
        return []
    optimizers = listing(sorted({run.optimizer for run in shown.runs}))
    return [f"With {optimizers} clipping never acted: no gradient was over a threshold."]


def _values(axis: str) -> str:
    return "learning rates" if axis.endswith(".lr") else f"values of {axis}"
