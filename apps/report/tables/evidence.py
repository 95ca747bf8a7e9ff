"""The table of what the seeds allow to conclude about each strategy."""

from __future__ import annotations

from apps.report.model.formatting import DASH, fixed, label, percent, settings_text
from apps.report.model.grids import Comparison
from apps.report.model.results import Metric, Results
from apps.report.model.tables import Cell, Column, Table
from apps.report.statistics.inference import Interval, interquartile_mean, share_interval
from apps.report.statistics.pairing import Paired, against_unclipped
from apps.report.statistics.summaries import count

NOTE = (
    "Gain: mean difference to the unclipped run of the same seed, positive is better; its interval "
    "is a bootstrap (BCa), too narrow for few seeds. p: paired t-test, corrected for all "
    "comparisons of the report (Holm). Probability of improvement: of a run scoring better than an "
    "unclipped one, over all pairs; a diverged run is worse than any score (percentile bootstrap). "
    "Interquartile mean: of the scores of completed runs, the upper and lower quarter left out. "
    "Diverged: with Wilson's interval. All intervals are of 95 %."
)


def evidence_table(results: Results) -> Table:
    """Gain, p-value, probability of improvement, interquartile mean and divergence rate."""
    metric = results.trained
    columns = [
        Column("Strategy", words=True),
        Column("Seeds", "paired"),
        Column("Gain on unclipped", f"{metric.label}, 95 %"),
        Column("p", "Holm"),
        Column("Improves", "probability, 95 %"),
        Column("Interquartile mean", metric.label),
        Column("Diverged", "share, 95 %"),
        Column("Verdict", words=True),
    ]
    compared = zip(results.grid.comparisons, against_unclipped(results), strict=True)
    groups = {settings_text(one.settings): _rows(one, pairs, metric) for one, pairs in compared}
    return Table(columns, groups)


def _rows(compared: Comparison, pairs: dict[str, Paired], metric: Metric) -> list[list[Cell]]:
    return [_row(compared, name, pairs.get(name), metric) for name in compared.strategies]


def _row(compared: Comparison, name: str, paired: Paired | None, metric: Metric) -> list[Cell]:
    scores = [s for run in compared.of(name) if (s := run.score(metric.name)) is not None]
    middle, ends = interquartile_mean(scores), count(compared.of(name))
    lost = ends.diverged / ends.total
    return [
        Cell(label(name), label(name)),
        *(_paired_cells(paired, metric) if paired else [Cell(DASH)] * 4),
        Cell(fixed(middle, metric.decimals), None if middle is None else metric.loss(middle)),
        Cell(f"{percent(lost)}{_shares(share_interval(ends.diverged, ends.total))}", lost),
        Cell(_VERDICTS[paired.verdict] if paired else DASH),
    ]


_VERDICTS = {
    "better": "better",
    "worse": "worse",
    "noise": "no difference",
    "unknown": "too few seeds",
}


def _paired_cells(paired: Paired, metric: Metric) -> list[Cell]:
    digits, interval = metric.decimals, paired.interval
    gain = DASH if paired.gain is None else f"{paired.gain:+.{digits}f}"
    if interval is not None:
        gain += f" ({interval.low:+.{digits}f} to {interval.high:+.{digits}f})"
    improves = percent(paired.improvement) + _shares(paired.improvement_interval)
    return [
        Cell(str(paired.n), paired.n),
        Cell(gain, paired.gain),
        Cell(fixed(paired.p_value, 3), paired.p_value),
        Cell(improves, paired.improvement),
    ]


def _shares(interval: Interval | None) -> str:
    return "" if interval is None else f" ({percent(interval.low)} to {percent(interval.high)})"
