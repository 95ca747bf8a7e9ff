"""The report's tables, independent of HTML and Markdown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from apps.report.records import Records, worst_parameters
from apps.report.results import UNCLIPPED, Metric, Results
from apps.report.statistics import Counts, Summary, best, clip_rate, count, pair, scores, summarize
from apps.report.sweep import Stand, by_value, span, stands, working_values
from apps.report.writing import (
    DASH,
    PLUS_MINUS,
    duration,
    fixed,
    label,
    percent,
    short,
)


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
    names = [name for name in results.strategies if results.of(name)]
    means = {m.name: {name: scores(results.of(name), m) for name in names} for m in results.metrics}
    bold = {m.name: _bold(results, m, means[m.name]) for m in results.metrics}
    others = [m for m in results.metrics if m is not results.primary]
    course = _course_columns(results)

    def strategy(name: str) -> list[Cell]:
        def cell(metric: Metric) -> Cell:
            of = means[metric.name][name]
            return _score(metric, of, ("run", name) in bold[metric.name])

        middle = [_gain(results, name), *_course(results, name)]
        name_cell = Cell(label(name), label(name))
        return [name_cell, cell(results.primary), *middle, *map(cell, others)]

    def baseline(name: str) -> list[Cell]:
        def cell(metric: Metric) -> Cell:
            value = summarize([results.baselines[name].get(metric.name)])
            return _score(metric, value, ("baseline", name) in bold[metric.name])

        middle = [Cell(DASH)] * len(course)
        return [Cell(name, name), cell(results.primary), *middle, *map(cell, others)]

    groups = {"Network, by clipping strategy": [strategy(name) for name in names]}
    if results.baselines:
        groups["Classical baselines"] = [baseline(name) for name in results.baselines]
    heads = [_score_column(metric) for metric in (results.primary, *others)]
    return Table([Column("Strategy", words=True), heads[0], *course, *heads[1:]], groups)


def _score_column(metric: Metric) -> Column:
    unit = f" ({metric.unit})" if metric.unit else ""
    return Column(metric.label + unit, _reading(metric))


def _course_columns(results: Results) -> list[Column]:
    """The gain and how the runs went; skips and failures only where there were any."""
    columns = [
        Column("Gain on unclipped", f"{results.primary.label}, paired, 95 %"),
        Column("Clipped", "of steps"),
        Column("Diverged", "runs"),
    ]
    if _any_failed(results):
        columns.append(Column("Failed", "runs"))
    if _any_skipped(results):
        columns.append(Column("Skipped", "steps"))
    return [*columns, Column("Time", "per run")]


def _any_failed(results: Results) -> bool:
    return any(run.status == "failed" for run in results.runs)


def _any_skipped(results: Results) -> bool:
    return any(run.skipped for run in results.runs)


def _reading(metric: Metric) -> str:
    if metric.direction == "target":
        return f"target {short(metric.target)}"
    return "lower is better" if metric.direction == "min" else "higher is better"


def _bold(results: Results, metric: Metric, means: dict[str, Summary]) -> set[tuple[str, str]]:
    # A mean over the survivors of a strategy that lost runs is no fair winner.
    candidates: dict[tuple[str, str], float | None] = {
        ("run", name): summary.mean
        for name, summary in means.items()
        if summary.n == len(results.of(name))
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


def _gain(results: Results, name: str) -> Cell:
    paired = pair(results, name, results.primary)
    if name == UNCLIPPED or paired.gain is None:
        return Cell(DASH)
    digits = results.primary.decimals
    text = f"{paired.gain:+.{digits}f}" if paired.gain else fixed(0.0, digits)
    if paired.margin is not None:
        text += f" {PLUS_MINUS} {paired.margin:.{digits}f}"
    return Cell(text, paired.gain)


def _course(results: Results, name: str) -> list[Cell]:
    runs = results.of(name)
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


def parameters_table(results: Results, records: Records) -> Table | None:
    """Which parameter had the largest norm, as a share of each strategy's steps."""
    shares = worst_parameters(records)
    if shares.empty:
        return None
    names = [name for name in results.strategies if name in shares.columns]
    columns = [Column("Parameter", words=True), *(Column(label(name)) for name in names)]
    rows = []
    for parameter, row in shares.iterrows():
        cells = [Cell(percent(row[name]), row[name], share=row[name]) for name in names]
        rows.append([Cell(str(parameter), str(parameter)), *cells])
    return Table(columns, {"": rows})


def sweep_table(results: Results) -> Table | None:
    """How each strategy stands the sweep."""
    if results.sweep is None:
        return None
    runs, metric = results.sweep.runs, results.primary
    grid, columns = (
        list(by_value(runs)),
        [
            Column("Strategy", words=True),
            Column("Diverged", "runs"),
            Column("Best", f"{metric.label} there, median over seeds"),
            Column("Best at", f"{results.sweep.axis}, by validation loss"),
            Column("Median", "of completed runs"),
            Column("Every run completed", results.sweep.axis),
            Column("Within 10 % of the best", results.sweep.axis),
        ],
    )
    rows = []
    for name, stand in stands(runs, results.strategies, metric).items():
        working = working_values([run for run in runs if run.clipping == name])
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
    heads = ["Strategy", "Seed", "Optimizer", "lr", "Status", "Diverged at", results.primary.label]
    columns = [Column(head, words=head in ("Strategy", "Optimizer", "Status")) for head in heads]
    columns += [Column("Steps"), Column("Time"), Column("Folder", words=True)]
    groups = {"Comparison": results.runs}
    if results.sweep:
        groups[f"Sweep over {results.sweep.axis}"] = results.sweep.runs
    return Table(
        columns,
        {
            title: [
                [
                    Cell(label(run.clipping), label(run.clipping)),
                    Cell(str(run.seed), run.seed),
                    Cell(run.optimizer, run.optimizer),
                    Cell(short(run.lr), run.lr),
                    Cell(run.status, run.status),
                    Cell(
                        DASH if run.diverged_at is None else str(run.diverged_at), run.diverged_at
                    ),
                    Cell(
                        fixed(run.test.get(results.metric), results.primary.decimals),
                        run.test.get(results.metric),
                    ),
                    Cell(str(run.steps), run.steps),
                    Cell(duration(run.seconds), run.seconds),
                    Cell(run.run_dir, run.run_dir),
                ]
                for run in runs
            ]
            for title, runs in groups.items()
        },
    )
