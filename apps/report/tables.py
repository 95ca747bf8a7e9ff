"""The report's tables, independent of HTML and Markdown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean

from apps.report.grids import Comparison
from apps.report.pairing import gains_of
from apps.report.records import Records, worst_parameters
from apps.report.results import Metric, Results
from apps.report.runs import UNCLIPPED, Run
from apps.report.statistics import Counts, Summary, best, clip_rate, count, scores, summarize
from apps.report.sweep import Stand, by_value, span, stands, working_values
from apps.report.writing import (
    DASH,
    PLUS_MINUS,
    duration,
    fixed,
    label,
    percent,
    settings_text,
    short,
    value_text,
)

# Swept keys that have a column of their own in the table of runs.
_SHOWN = ("optimizer", "optimizer.lr")


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its text, the number it sorts by, bold or not, and a share to shade it with."""

    text: str
    sort: float | str | None = None
    bold: bool = False
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A column head with a second, smaller line; `words` columns are left-aligned."""

    head: str
    hint: str = ""
    words: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and named groups of rows."""

    columns: list[Column]
    groups: dict[str, list[list[Cell]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NamedTable:
    """A table of an application, with its title and a note on how to read it."""

    title: str
    table: Table
    note: str = ""


def scores_table(results: Results) -> Table:
    """Strategies, then classical baselines: the primary metric, how the runs went, the rest."""
    others = [metric for metric in results.metrics if metric is not results.primary]
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
    def cell(name: str, metric: Metric) -> Cell:
        bold = _winners(results, compared, metric)
        return _score(metric, scores(compared.of(name), metric), ("run", name) in bold)

    rows = []
    for name in compared.strategies:
        middle = [_gain(results, compared, name), *_course(results, compared, name)]
        first = [Cell(_with_tuned(compared, name), label(name)), cell(name, results.primary)]
        rows.append([*first, *middle, *(cell(name, metric) for metric in others)])
    return rows


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


def _score_column(metric: Metric) -> Column:
    unit = f" ({metric.unit})" if metric.unit else ""
    return Column(metric.label + unit, _reading(metric))


def _course_columns(results: Results) -> list[Column]:
    """The gain and how the runs went; skips and failures only where there were any."""
    columns = [
        Column("Gain on unclipped", f"{results.primary.label}, paired"),
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
    if metric.target is not None and metric.direction == "target":
        text += f" ({summary.mean - metric.target:+.{metric.decimals}f})"
    return Cell(text, metric.loss(summary.mean), bold)


def _gain(results: Results, compared: Comparison, name: str) -> Cell:
    gains = [] if name == UNCLIPPED else gains_of(compared, name, results.primary)
    if not gains:
        return Cell(DASH)
    gain, digits = fmean(gains), results.primary.decimals
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


def sweep_table(swept: Comparison, axis: str, metric: Metric) -> Table:
    """How each strategy stands the sweep."""
    grid = list(by_value(swept.runs, axis))
    columns = [
        Column("Strategy", words=True),
        Column("Diverged", "runs"),
        Column("Best", f"{metric.label} there, median over seeds"),
        Column("Best at", f"{axis}, by validation loss"),
        Column("Median", "of completed runs"),
        Column("Every run completed", axis),
        Column("Within 10 % of the best", axis),
    ]
    rows = []
    for name, stand in stands(swept, axis, metric).items():
        working = working_values(swept.of(name), axis)
        rows.append(_sweep_row(name, stand, metric, working, span(stand.close_to_best, grid)))
    return Table(columns, {"": rows})


def _sweep_row(name: str, stand: Stand, metric: Metric, working: str, close: str) -> list[Cell]:
    failed = f", {stand.failed} failed" if stand.failed else ""
    return [
        Cell(label(name), label(name)),
        Cell(f"{stand.diverged} of {stand.runs}{failed}", stand.diverged),
        Cell(fixed(stand.best, metric.decimals), stand.best),
        Cell(short(stand.best_at), stand.best_at),
        Cell(fixed(stand.median, metric.decimals), stand.median),
        Cell(working),
        Cell(close),
    ]


def runs_table(results: Results) -> Table:
    """Every run with how it ended and where its files are."""
    keys = list(dict.fromkeys(key for grid in results.grids for key in grid.axes))
    heads = ["Strategy", "Seed", "Optimizer", "lr", *(k for k in keys if k not in _SHOWN)]
    heads += ["Status", "Diverged at", results.primary.label]
    words = ("Strategy", "Optimizer", "Status", *keys)
    columns = [Column(head, words=head in words) for head in heads]
    columns += [Column("Steps"), Column("Time"), Column("Folder", words=True)]
    groups = {"Comparison": results.grid.runs}
    if results.sweep:
        groups["Sweep"] = results.sweep.runs
    return Table(
        columns,
        {title: [_run_row(run, results, keys) for run in runs] for title, runs in groups.items()},
    )


def _run_row(run: Run, results: Results, keys: list[str]) -> list[Cell]:
    others = [value_text(run.settings[k]) if k in run.settings else DASH for k in keys]
    score = run.test.get(results.metric)
    return [
        Cell(label(run.clipping), label(run.clipping)),
        Cell(str(run.seed), run.seed),
        Cell(run.optimizer, run.optimizer),
        Cell(short(run.lr), run.lr),
        *(Cell(text, text) for key, text in zip(keys, others, strict=True) if key not in _SHOWN),
        Cell(run.status, run.status),
        Cell(DASH if run.diverged_at is None else str(run.diverged_at), run.diverged_at),
        Cell(fixed(score, results.primary.decimals), score),
        Cell(str(run.steps), run.steps),
        Cell(duration(run.seconds), run.seconds),
        Cell(run.run_dir, run.run_dir),
    ]
