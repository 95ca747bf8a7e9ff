"""What a table of the report is, independent of HTML, Markdown, CSV and LaTeX."""

from __future__ import annotations

from dataclasses import dataclass, field


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
