"""The report: results.json, report.html, report.md and the pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import vl_convert

from apps.report.charts import learning_figure, scores_figure
from apps.report.evidence import NOTE, evidence_table
from apps.report.grids import Grid
from apps.report.norms import norm_figures
from apps.report.records import Records, read_records
from apps.report.results import Results, write_results
from apps.report.sweep_chart import sweep_figure
from apps.report.tables import (
    NamedTable,
    Table,
    parameters_table,
    runs_table,
    scores_table,
    sweep_table,
)
from apps.report.theme import Figure, config, png, specification
from apps.report.words import headline
from apps.report.writing import PLUS_MINUS, label, settings_text, several

_TEMPLATES = Path(__file__).parent / "templates"
_RESERVED = frozenset(
    {"scores", "learning_curves", "norm_distribution", "norm_course", "grid", "sweep"}
)


@dataclass(frozen=True, slots=True)
class Section:
    """One heading with its figures and tables."""

    key: str
    title: str
    figures: Sequence[Figure] = ()
    table: Table | None = None
    note: str = ""


def write_report(
    results: Results,
    output_dir: Path,
    figures: Sequence[Figure] = (),
    tables: Sequence[NamedTable] = (),
) -> Path:
    """Write the whole report and return the path of report.html.

    results.json comes first, so that a chart that fails never costs the numbers; the report can
    then be written again from `read_results`.

    Raises:
        ValueError: two figures share a name, or a name is no plain file stem.
    """
    _check_names(figures)
    output_dir.mkdir(parents=True, exist_ok=True)
    write_results(results, output_dir / "results.json")
    records = read_records(results.shown, output_dir)
    sections = _sections(results, records, figures, tables)
    specs = {f.name: specification(f.chart) for section in sections for f in section.figures}
    _write_pictures(specs, output_dir / "pictures")
    page = {
        "results": results,
        "findings": headline(results, records),
        "summary": _summary(results),
        "sections": sections,
        "runs": runs_table(results),
        "config": json.dumps(results.config, indent=2, default=str),
    }
    (output_dir / "report.md").write_text(_markdown(page), encoding="utf-8")
    path = output_dir / "report.html"
    path.write_text(_html(page, specs), encoding="utf-8")
    return path


def _check_names(figures: Sequence[Figure]) -> None:
    seen = set(_RESERVED)
    for figure in figures:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", figure.name):
            raise ValueError(f"figure name {figure.name!r} is no plain file stem")
        if figure.name in seen:
            raise ValueError(f"figure name {figure.name!r} is taken")
        seen.add(figure.name)


def _sections(
    results: Results, records: Records, figures: Sequence[Figure], tables: Sequence[NamedTable]
) -> list[Section]:
    lost = any(run.status != "completed" for run in results.grid.runs)
    where = settings_text(results.shown.settings)
    where = f"At {where}, where unclipped training validates best." if where else ""
    curves = learning_figure(results.shown, records)
    sections = [
        Section(
            "scores",
            "Test scores",
            _some(scores_figure(results, results.shown)),
            scores_table(results),
            _scores_note(lost),
        ),
        Section("evidence", "Against unclipped", (), evidence_table(results), NOTE),
        Section("learning", "Learning curves", _some(curves), None, where),
        Section("norms", "Gradient norms", norm_figures(results.shown, records), None, where),
        Section(
            "parameters",
            "Dominant parameters",
            (),
            parameters_table(results.shown, records),
            "Share of the steps in which a parameter had the largest gradient norm.",
        ),
        *(_sweep_sections("grid", results.grid, results)),
        *(_sweep_sections("sweep", results.sweep, results) if results.sweep else []),
        Section("application", "The application", figures),
    ]
    sections += [
        Section(f"application-{i}", named.title, (), named.table, named.note)
        for i, named in enumerate(tables, 1)
    ]
    return [section for section in sections if section.figures or section.table]


def _some(figure: Figure | None) -> list[Figure]:
    return [] if figure is None else [figure]


def _scores_note(lost: bool) -> str:
    note = (
        f"Mean {PLUS_MINUS} standard deviation over seeds; bold is best at the printed precision. "
        "The gain is the mean difference to the unclipped run of the same seed, turned so that "
        "positive is better."
    )
    if lost:
        note += " Means cover completed runs only, and a strategy that lost runs is never bold."
    return note


def _sweep_sections(key: str, grid: Grid, results: Results) -> list[Section]:
    """The stability of a grid over its numeric key, for each setting of the others."""
    axis, sections = grid.axis, []
    for i, swept in enumerate(grid.along_axis if axis is not None else []):
        assert axis is not None
        name = key if i == 0 else f"{key}-{i}"
        fixed = ", ".join(filter(None, [*grid.overrides, settings_text(swept.settings)]))
        sections.append(
            Section(
                name,
                f"Stability over {axis}",
                [sweep_figure(swept, axis, results.primary, name)],
                sweep_table(swept, axis, results.primary),
                f"Run with {fixed}." if fixed else "",
            )
        )
    return sections


def _summary(results: Results) -> str:
    seeds = {run.seed for run in results.grid.runs}
    names = ", ".join(label(name) for name in results.strategies)
    return f"{names}; {several(len(seeds), 'seed')}, {several(len(results.runs), 'run')}"


def _write_pictures(specs: dict[str, dict[str, Any]], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, spec in specs.items():
        (folder / f"{name}.png").write_bytes(png(spec))


def _html(page: dict[str, Any], specs: dict[str, dict[str, Any]]) -> str:
    return (
        _environment(escape=True)
        .get_template("report.html.j2")
        .render(
            **page,
            style=(_TEMPLATES / "style.css").read_text(encoding="utf-8"),
            script=(_TEMPLATES / "script.js").read_text(encoding="utf-8"),
            bundle=_bundle(),
            specs=_embedded({"config": config("currentColor"), "charts": specs}),
        )
    )


def _markdown(page: dict[str, Any]) -> str:
    return _environment(escape=False).get_template("report.md.j2").render(**page)


def _environment(*, escape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=escape,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    return environment


def _embedded(value: object) -> str:
    """JSON that cannot end the script element around it."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


@cache
def _bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace(
        "</script", "<\\/script"
    )
