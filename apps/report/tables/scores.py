"""The tables of the comparison: test scores, all metrics, and which parameters dominate."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from apps.report.model.formatting import (
    DASH,
    PLUS_MINUS,
    duration,
    fixed,
    label,
    percent,
    settings_text,
    short,
)
from apps.report.model.grids import Comparison
from apps.report.model.results import Metric, Results
from apps.report.model.runs import UNCLIPPED
from apps.report.model.step_records import Records, worst_parameters
from apps.report.model.tables import Cell, Column, Table
from apps.report.statistics.pairing import gains_of
from apps.report.statistics.summaries import (
    Counts,
    Summary,
    best,
    clip_rate,
    count,
    scores,
    summarize,
)

# Metrics in the table of scores beside the primary one; where there are more, a table of their
# own holds all of them, metrics down and strategies across, as fits a phone and a page.
_OTHERS = 4


def scores_table(results: Results) -> Table:
    """Strategies, then classical baselines: the primary metric, how the runs went, the rest."""
    others = [metric for metric in results.metrics if metric is not results.primary][:_OTHERS]
    course = _course_columns(results)
    groups = {}
    for compared in results.grid.comparisons:
        title = settings_text(compared.settings) or "Network, by clipping strategy"
        groups[title] = _strategy_rows(results, compared, others)
    if results.baselines:
        groups["Classical baselines"] = _baseline_rows(results, others, len(course))
    heads = [_score_column(metric) for metric in (results.primary, *others)]
    return Table([Column("Strategy", words=True), heads[0], *course, *heads[1:]], groups)


def _strategy_rows(
    results: Results, compared: Comparison, others: list[Metric]
) -> list[list[Cell]]:
    rows = []
    for name in compared.strategies:
        first = Cell(_with_tuned(compared, name), label(name))
        middle = [gain_cell(results, compared, name), *_course(results, compared, name)]
        scored = [score_cell(results, compared, name, m) for m in (results.primary, *others)]
        rows.append([first, scored[0], *middle, *scored[1:]])
    return rows


def score_cell(results: Results, compared: Comparison, name: str, metric: Metric) -> Cell:
    """A strategy's mean score and its spread over seeds; bold if nothing is better."""
    bold = ("run", name) in _winners(results, compared, metric)
    return _score(metric, scores(compared.of(name), metric), bold)


def _with_tuned(compared: Comparison, name: str) -> str:
    tuned = settings_text(compared.tuned.get(name, {}))
    return f"{label(name)} ({tuned})" if tuned else label(name)


def _baseline_rows(results: Results, others: list[Metric], between: int) -> list[list[Cell]]:
    def cell(name: str, metric: Metric) -> Cell:
        wins = [_winners(results, one, metric) for one in results.grid.comparisons]
        value = summarize([results.baselines[name].get(metric.name)])
        return _score(metric, value, all(("baseline", name) in found for found in wins))

    middle = [Cell(DASH)] * between
    return [
        [
            Cell(name, name),
            cell(name, results.primary),
            *middle,
            *(cell(name, metric) for metric in others),
        ]
        for name in results.baselines
    ]


def metrics_table(results: Results) -> Table | None:
    """Every metric with every strategy and baseline, where `scores_table` has not room for all."""
    if len(results.metrics) <= 1 + _OTHERS:
        return None
    names = results.grid.strategies
    columns = [Column("Metric", words=True), Column("Good is", words=True)]
    columns += [Column(name) for name in (*map(label, names), *results.baselines)]
    groups = {
        settings_text(compared.settings): [
            _metric_row(results, compared, metric) for metric in results.metrics
        ]
        for compared in results.grid.comparisons
    }
    return Table(columns, groups)


def _metric_row(results: Results, compared: Comparison, metric: Metric) -> list[Cell]:
    bold = _winners(results, compared, metric)
    ours = [score_cell(results, compared, name, metric) for name in results.grid.strategies]
    rivals = [
        _score(metric, summarize([row.get(metric.name)]), ("baseline", name) in bold)
        for name, row in results.baselines.items()
    ]
    return [_text(_score_column(metric).head), _text(_goal(metric)), *ours, *rivals]


def _text(text: str) -> Cell:
    return Cell(text, text)


def _goal(metric: Metric) -> str:
    if metric.direction == "target":
        return f"near {short(metric.target)}"
    return "small" if metric.direction == "min" else "large"


def _score_column(metric: Metric) -> Column:
    unit = f" ({metric.unit})" if metric.unit else ""
    return Column(metric.label + unit, _reading(metric))


def _course_columns(results: Results) -> list[Column]:
    """The gain and how the runs went; skips and failures only where there were any."""
    columns = [
        Column("Gain on unclipped", f"{results.trained.label}, paired"),
        Column("Clipped", "of steps"),
        Column("Diverged", "runs"),
    ]
    if _any_failed(results):
        columns.append(Column("Failed", "runs"))
    if _any_skipped(results):
        columns.append(Column("Skipped", "steps"))
    return [*columns, Column("Time", "per run")]


def _any_failed(results: Results) -> bool:
    return any(run.status == "failed" for run in results.grid.runs)


def _any_skipped(results: Results) -> bool:
    return any(run.skipped for run in results.grid.runs)


def _reading(metric: Metric) -> str:
    if metric.direction == "target":
        return f"target {short(metric.target)}"
    return "lower is better" if metric.direction == "min" else "higher is better"


def _winners(results: Results, compared: Comparison, metric: Metric) -> set[tuple[str, str]]:
    """Strategies and baselines with the best score of a comparison."""
    # A mean over the survivors of a strategy that lost runs is no fair winner.
    means = {name: scores(compared.of(name), metric) for name in compared.strategies}
    candidates: dict[tuple[str, str], float | None] = {
        ("run", name): summary.mean
        for name, summary in means.items()
        if summary.n == len(compared.of(name))
    }
    for name, row in results.baselines.items():
        candidates["baseline", name] = row.get(metric.name)
    return best(candidates, metric)


def _score(metric: Metric, summary: Summary, bold: bool) -> Cell:
    if summary.mean is None:
        return Cell(DASH)
    text = fixed(summary.mean, metric.decimals)
    if summary.sd is not None:
        text += f" {PLUS_MINUS} {fixed(summary.sd, metric.decimals)}"
    return Cell(text, metric.loss(summary.mean), bold)


def gain_cell(results: Results, compared: Comparison, name: str) -> Cell:
    """A strategy's mean gain on the unclipped runs of the same seed."""
    gains = [] if name == UNCLIPPED else gains_of(compared, name, results.trained)
    if not gains:
        return Cell(DASH)
    gain, digits = fmean(gains), results.trained.decimals
    return Cell(f"{gain:+.{digits}f}" if gain else fixed(0.0, digits), gain)


def _course(results: Results, compared: Comparison, name: str) -> list[Cell]:
    runs = compared.of(name)
    ends, rate = count(runs), clip_rate(runs)
    seconds = summarize(run.seconds for run in runs if run.status == "completed").mean
    skipped = sum(run.skipped for run in runs)
    return [
        Cell(percent(rate), rate),
        _of(ends, lambda c: c.diverged),
        *([_of(ends, lambda c: c.failed)] if _any_failed(results) else []),
        *([Cell(str(skipped), skipped)] if _any_skipped(results) else []),
        Cell(DASH if seconds is None else duration(seconds), seconds),
    ]


def _of(counts: Counts, part: Callable[[Counts], int]) -> Cell:
    return Cell(f"{part(counts)} of {counts.total}", part(counts))


def parameters_table(compared: Comparison, records: Records) -> Table | None:
    """Which parameter had the largest norm, as a share of each strategy's steps."""
    shares = worst_parameters(records)
    if shares.empty:
        return None
    names = [name for name in compared.strategies if name in shares.columns]
    columns = [Column("Parameter", words=True), *(Column(label(name)) for name in names)]
    rows = []
    for parameter, row in shares.iterrows():
        cells = [Cell(percent(row[name]), row[name], share=row[name]) for name in names]
        rows.append([Cell(str(parameter), str(parameter)), *cells])
    return Table(columns, {"": rows})
