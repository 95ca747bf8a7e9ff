"""Figures and tables as files for papers: PNG and SVG, CSV and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from apps.report.charts.theme import Figure, png, specification, svg
from apps.report.model.formatting import DASH, PLUS_MINUS
from apps.report.model.results import Results
from apps.report.model.spreadsheet import write_csv
from apps.report.model.tables import Cell, Table
from data_scripts.files import write_bytes, write_text

FIGURES, TABLES = "figures", "tables"
# What LaTeX reads as commands, and what its fonts lack, in its own words.
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # at the start of a row it would be an argument of the row before
    PLUS_MINUS: r"$\pm$",
    DASH: "--",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def write_figures(figures: Mapping[str, Figure], folder: Path) -> None:
    """Each figure as NAME.png (twice the size, on white), NAME.svg, and NAME.gif if it moves."""
    folder.mkdir(exist_ok=True)
    for name, figure in figures.items():
        spec = specification(figure.chart)
        write_bytes(folder / f"{name}.png", png(spec))
        write_text(folder / f"{name}.svg", svg(spec))
        if figure.animation is not None:
            write_bytes(folder / f"{name}.gif", figure.animation)


def write_tables(tables: Mapping[str, Table], folder: Path) -> None:
    """Each table as NAME.csv and NAME.tex."""
    folder.mkdir(exist_ok=True)
    for name, table in tables.items():
        write_csv(as_frame(table), folder / f"{name}.csv")
        write_text(folder / f"{name}.tex", latex(table))


def as_frame(table: Table) -> pd.DataFrame:
    """The table as printed, with a column for the groups where there are several.

    A spread has a column of its own, named with a plus-minus sign; a dash is an empty cell.
    """
    named = len(table.groups) > 1
    rows = [(title, cells) for title, group in table.groups.items() for cells in group]
    columns = {"group": [title for title, _ in rows]} if named else {}
    for place, column in enumerate(table.columns):
        texts = [cells[place].text.partition(f" {PLUS_MINUS} ") for _, cells in rows]
        columns[column.head] = ["" if value == DASH else value for value, _, _ in texts]
        if any(spread for _, _, spread in texts):
            columns[f"{column.head} {PLUS_MINUS}"] = [spread for _, _, spread in texts]
    return pd.DataFrame(columns)


def runs_frame(results: Results) -> pd.DataFrame:
    """Every run, one in a row, with all that was recorded of it at full precision."""
    grids = [("sweep" if grid is results.sweep else "comparison", grid) for grid in results.grids]
    rows = [{"grid": name, **asdict(run)} for name, grid in grids for run in grid.runs]
    return pd.json_normalize(rows)


def latex(table: Table) -> str:
    """The table as a `tabular` for the package booktabs."""
    sides = "".join("l" if column.words else "r" for column in table.columns)
    lines = [f"\\begin{{tabular}}{{{sides}}}", r"\toprule"]
    lines.append(_row([escape(column.head) for column in table.columns]))
    if any(column.hint for column in table.columns):
        hints = [escape(column.hint) for column in table.columns]
        lines.append(_row([f"{{\\footnotesize {hint}}}" if hint else "" for hint in hints]))
    for title, group in table.groups.items():
        lines.append(r"\midrule")
        if title and len(table.groups) > 1:
            lines.append(f"\\multicolumn{{{len(sides)}}}{{l}}{{\\emph{{{escape(title)}}}}} \\\\")
        lines += [_row([_cell(cell) for cell in cells]) for cells in group]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    return f"\\textbf{{{text}}}" if cell.bold else text


def escape(text: str) -> str:
    """The text with what LaTeX would take for commands written out, on one line."""
    return "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))


def file_stem(title: str) -> str:
    """A table's title as the name of a file: lower case, words joined by underscores."""
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")
