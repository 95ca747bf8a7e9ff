"""The report on one application: results.json, report.html, report.md, figures and tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from apps.report.charts.theme import Figure
from apps.report.model.formatting import label, several
from apps.report.model.results import Results, write_results
from apps.report.model.spreadsheet import write_csv
from apps.report.model.step_records import read_records
from apps.report.model.tables import NamedTable
from apps.report.page.exports import FIGURES, TABLES, runs_frame, write_figures, write_tables
from apps.report.page.findings import details, lead
from apps.report.page.rendering import html, markdown
from apps.report.page.sections import Section, sections
from apps.report.statistics.recommendation import RULE
from data_scripts.files import write_text


def write_report(
    results: Results,
    output_dir: Path,
    figures: Sequence[Figure] = (),
    tables: Sequence[NamedTable] = (),
    home: str = "",
) -> Path:
    """Write the whole report and return the path of report.html.

    results.json comes first, so that a chart that fails never costs the numbers; the report can
    then be written again from `read_results`. `home` is the address of the front page, for a
    report that stands under one.

    Raises:
        ValueError: two figures share a name, or a name is no plain file stem.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    write_results(results, output_dir / "results.json")
    parts = sections(results, output_dir, figures, tables)
    drawn = {figure.name: figure for part in parts for figure in part.figures}
    write_figures(drawn, output_dir / FIGURES)
    write_tables({part.key: part.table for part in parts if part.table}, output_dir / TABLES)
    # The table of runs shows what there is room for; its file holds everything.
    write_csv(runs_frame(results), output_dir / TABLES / "runs.csv")
    page = _page(results, details(results, read_records(results.shown, output_dir)), parts)
    write_text(output_dir / "report.md", markdown("report.md.j2", **page))
    path = output_dir / "report.html"
    write_text(path, html("report.html.j2", drawn, **page, home=home))
    return path


def _page(results: Results, findings: list[str], parts: list[Section]) -> dict[str, Any]:
    return {
        "results": results,
        "lead": lead(results),
        "findings": findings,
        "rule": RULE,
        "summary": _summary(results),
        "sections": parts,
        "config": json.dumps(results.config, indent=2, default=str),
        "folders": {"figures": FIGURES, "tables": TABLES},
    }


def _summary(results: Results) -> str:
    seeds = {run.seed for run in results.grid.runs}
    names = ", ".join(label(name) for name in results.strategies)
    return f"{names}; {several(len(seeds), 'seed')}, {several(len(results.runs), 'run')}"
