"""What stands in a report, from top to bottom."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from apps.report.charts.norms import norm_figures
from apps.report.charts.scores import learning_figure, scores_figure
from apps.report.charts.stability import stability_figure
from apps.report.charts.sweep import sweep_figure
from apps.report.charts.theme import Figure
from apps.report.model.formatting import PLUS_MINUS, settings_text
from apps.report.model.grids import Comparison, Grid
from apps.report.model.results import Results
from apps.report.model.step_records import Records, read_records
from apps.report.model.tables import NamedTable, Table
from apps.report.page.exports import file_stem
from apps.report.tables.evidence import NOTE, evidence_table
from apps.report.tables.pace import pace_table
from apps.report.tables.runs import runs_table
from apps.report.tables.scores import metrics_table, parameters_table, scores_table
from apps.report.tables.sweep import sweep_table

_GENERAL = {"scores", "learning_curves", "norm_distribution", "norm_course"}
_STABILITY = re.compile(r"(grid|sweep)(_\d+)?(_map)?")


@dataclass(frozen=True, slots=True)
class Section:
    """One heading with its figures and its table; `key` is the table's file stem, too.

    On the front page a section has `findings` and a `link` to the report behind it.
    """

    key: str
    title: str
    figures: Sequence[Figure] = ()
    table: Table | None = None
    note: str = ""
    findings: Sequence[str] = ()
    link: str = ""


def sections(
    results: Results,
    output_dir: Path,
    figures: Sequence[Figure],
    tables: Sequence[NamedTable],
) -> list[Section]:
    """The sections that have something to show, those of the application after the general ones.

    Raises:
        ValueError: two figures share a name, or a name is no plain file stem.
    """
    _check_names(figures)
    shown, records = results.shown, read_records(results.shown, output_dir)
    where = settings_text(shown.settings)
    where = f"At {where}, where unclipped training validates best." if where else ""
    found = [
        _scores(results),
        Section("evidence", "Against unclipped", (), evidence_table(results), NOTE),
        Section("all_metrics", "All metrics", (), metrics_table(results)),
        Section("learning", "Learning curves", _some(learning_figure(shown, records)), None, where),
        _pace(shown, records),
        Section("norms", "Gradient norms", norm_figures(shown, records), None, where),
        _parameters(shown, records),
        *_stability("grid", results.grid, results, output_dir),
        *(_stability("sweep", results.sweep, results, output_dir) if results.sweep else []),
        Section("application", "The application", figures),
        *(Section(file_stem(t.title), t.title, (), t.table, t.note) for t in tables),
        Section("runs", "Runs", (), runs_table(results)),
    ]
    return [section for section in found if section.figures or section.table]


def _check_names(figures: Sequence[Figure]) -> None:
    seen = set(_GENERAL)
    for figure in figures:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", figure.name):
            raise ValueError(f"figure name {figure.name!r} is no plain file stem")
        if figure.name in seen or _STABILITY.fullmatch(figure.name):
            raise ValueError(f"figure name {figure.name!r} is taken")
        seen.add(figure.name)


def _some(figure: Figure | None) -> list[Figure]:
    return [] if figure is None else [figure]


def _scores(results: Results) -> Section:
    note = (
        f"Mean {PLUS_MINUS} standard deviation over seeds; bold is best at the printed precision. "
        "The gain is the mean difference to the unclipped run of the same seed, turned so that "
        "positive is better."
    )
    if any(run.status != "completed" for run in results.grid.runs):
        note += " Means cover completed runs only, and a strategy that lost runs is never bold."
    figure = _some(scores_figure(results, results.shown))
    return Section("scores", "Test scores", figure, scores_table(results), note)


def _pace(shown: Comparison, records: Records) -> Section:
    groups = {name: shown.of(name) for name in shown.strategies}
    note = (
        "Loss spikes: steps whose loss is over seven standard deviations above the mean of the up "
        "to 1000 before, per run. The target is the lowest validation loss of the unclipped runs "
        "(median over seeds); its steps are the median over all runs, a run that never reached it "
        "counting as infinitely slow."
    )
    return Section("pace", "Steps to a score, and spikes", (), pace_table(groups, records), note)


def _parameters(shown: Comparison, records: Records) -> Section:
    note = "Share of the steps in which a parameter had the largest gradient norm."
    table = parameters_table(shown, records)
    return Section("parameters", "Dominant parameters", (), table, note)


def _stability(key: str, grid: Grid, results: Results, output_dir: Path) -> list[Section]:
    """The stability of a grid over its numeric key, for each setting of the others."""
    axis = grid.axis
    if axis is None:
        return []
    found = []
    for number, swept in enumerate(grid.along_axis):
        name = f"{key}_{number}" if number else key
        records = read_records(swept, output_dir)
        metric = results.trained
        charts = [
            stability_figure(swept, axis, metric, records, f"{name}_map"),
            sweep_figure(swept, axis, metric, name),
        ]
        fixed = ", ".join(filter(None, [*grid.overrides, settings_text(swept.settings)]))
        note = f"Run with {fixed}." if fixed else ""
        table = sweep_table(swept, axis, metric, records)
        found.append(Section(name, f"Stability over {axis}", charts, table, note))
    return found
