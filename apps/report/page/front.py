"""The page over the reports of several applications."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from apps.report.charts.gains import gains_figure
from apps.report.charts.scores import scores_figure
from apps.report.charts.theme import Figure
from apps.report.charts.theme import title as axis_title
from apps.report.model.formatting import PLUS_MINUS, fixed, label, settings_text, several
from apps.report.model.grids import Comparison
from apps.report.model.results import Results
from apps.report.model.tables import Cell, Column, Table
from apps.report.page.exports import FIGURES, TABLES, write_figures, write_tables
from apps.report.page.findings import details, verdict
from apps.report.page.rendering import html, markdown
from apps.report.page.sections import Section
from apps.report.statistics.recommendation import RULE, recommended
from apps.report.statistics.summaries import count
from apps.report.tables.scores import gain_cell, score_cell
from data_scripts.files import write_text


def write_front(root: Path, results: Sequence[Results]) -> Path:
    """Write report.html and report.md over the reports in `root/<app>/`; return the former."""
    gains = gains_figure(results)
    note = (
        f"At the setting where unclipped training validates best; mean {PLUS_MINUS} standard "
        "deviation over seeds. Bold is best at the printed precision, classical baselines "
        "included. The gain is on the metric that the verdict below names."
    )
    found = [f"{one.title}. {verdict(one)} {recommended(one)}" for one in results]
    charts = [gains] if gains else []
    over = Section("overview", "Overview", charts, _overview(results), f"{note} {RULE}", found)
    parts = [over, *map(_about, results)]
    drawn = {figure.name: figure for part in parts for figure in part.figures}
    write_figures(drawn, root / FIGURES)
    write_tables({part.key: part.table for part in parts if part.table}, root / TABLES)
    page = {
        "sections": parts,
        "summary": f"{several(len(results), 'application')}: the same budget, data and seeds for "
        "each strategy, unclipped among them.",
        "folders": {"figures": FIGURES, "tables": TABLES},
    }
    write_text(root / "report.md", markdown("front.md.j2", **page))
    path = root / "report.html"
    write_text(path, html("front.html.j2", drawn, **page))
    return path


def _about(results: Results) -> Section:
    """What else was found for one application, and its main figure."""
    figure = scores_figure(results, results.shown)
    link = f"{results.app}/report.html"
    figures = [_renamed(figure, results.app)] if figure else []
    return Section(results.app, results.title, figures, findings=details(results), link=link)


def _renamed(figure: Figure, app: str) -> Figure:
    return replace(figure, name=f"{figure.name}_{app}")


def _overview(results: Sequence[Results]) -> Table:
    columns = [
        Column("Strategy", words=True),
        Column("Metric", words=True),
        Column("Score", "test split"),
        Column("Gain on unclipped", "paired"),
        Column("Best baseline"),
        Column("Diverged", "runs"),
    ]
    return Table(columns, {_title(one): _rows(one, one.shown) for one in results})


def _title(results: Results) -> str:
    where = settings_text(results.shown.settings)
    return f"{results.title} ({where})" if where else results.title


def _rows(results: Results, shown: Comparison) -> list[list[Cell]]:
    metric = results.primary
    rivals = [row.get(metric.name) for row in results.baselines.values()]
    rival = min((r for r in rivals if r is not None), key=metric.loss, default=None)
    rows = []
    for name in shown.strategies:
        ends = count(shown.of(name))
        rows.append(
            [
                Cell(label(name), label(name)),
                Cell(axis_title(metric), metric.label),
                score_cell(results, shown, name, metric),
                gain_cell(results, shown, name),
                Cell(fixed(rival, metric.decimals), rival),
                Cell(f"{ends.diverged} of {ends.total}", ends.diverged),
            ]
        )
    return rows
