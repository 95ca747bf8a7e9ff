"""A table as its cells, with the name of every row in the user's own file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import shorten

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apps.errors import UserError
from apps.tables.reading import Reading

# What pandas takes for a missing value, and what Bloomberg, Excel, MySQL, UCI, investing.com and
# FRED write for it.
MISSING = frozenset(
    [
        "",
        *[
            "#N/A",
            "#N/A N/A",
            "#NV",
            "#NA",
            "N/A",
            "n/a",
            "NA",
            "<NA>",
            "NaN",
            "nan",
            "-nan",
            "NULL",
            "Null",
            "null",
            "\\N",
            "NaT",
            "None",
            "?",
            "-",
            ".",
        ],
    ]
)


def is_nested(cell: object) -> bool:
    """Whether a cell holds several values, or bytes: nothing that can be read as one."""
    return isinstance(cell, list | tuple | dict | np.ndarray | bytes)


@dataclass(frozen=True, eq=False)
class Table:
    """Cells by row and named column, as they are in a file or in a folder of files.

    cells: text, or values of their own type where the format has types; None or NaN is empty.
    rows: the number (N,) of each row in its file, from 1. files: the names of a folder's files;
    file: which of them (N,) each row is in. found: the format in words. notes: what reading
    changed.
    """

    path: Path
    cells: pd.DataFrame
    rows: NDArray[np.intp]
    found: str
    notes: tuple[str, ...] = ()
    reading: Reading = field(default_factory=Reading)
    files: tuple[str, ...] = ()
    file: NDArray[np.intp] | None = None

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.cells)

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self.cells.columns)

    def where(self, row: int) -> str:
        """What to call a row (counted from 0) in a message: `load.csv: data row 12`."""
        path = self.path
        if self.file is not None:
            path = path / self.files[int(self.file[row])]
        return f"{path}: data row {self.rows[row]}"

    def at(self, row: int, name: str) -> str:
        """What to call a cell in a message: `load.csv: column 'load', data row 12`."""
        path, number = self.where(row).rsplit(": ", 1)
        return f"{path}: column {name!r}, {number}"

    @property
    def sheet_cure(self) -> str:
        """What to do where the columns looked for are not in the first sheet of several."""
        return "; or name another sheet with data.sheet" if "(data.sheet)" in self.found else ""

    def take(self, kept: NDArray[np.bool_] | NDArray[np.intp], *notes: str) -> Table:
        """Some of the rows, in the order given, and notes on why."""
        return replace(
            self,
            cells=self.cells[kept] if kept.dtype == bool else self.cells.iloc[kept],
            rows=self.rows[kept],
            file=None if self.file is None else self.file[kept],
            notes=(*self.notes, *notes),
        )

    def without_blank_rows(self) -> Table:
        """The rows that hold anything."""
        blank = self.cells.isna().all(axis=1).to_numpy()
        if not blank.any():
            return self
        return self.take(~blank)

    def require(self, names: Sequence[str]) -> None:
        """UserError, listing the columns there are, for one that is missing."""
        for name in names:
            if name not in self.cells.columns:
                there = ", ".join(self.names)
                raise UserError(f"{self.path}: no column {name!r}; there are {there}")

    def text(self, name: str) -> pd.Series:
        """A column as text without blanks around it, missing values and words for them as NaN.

        Raises UserError naming the row for a list, an object or bytes.
        """
        column = self.cells[name]
        nested = column.map(is_nested).to_numpy(bool)
        if nested.any():
            row = int(np.argmax(nested))
            cell = shorten(str(column.iloc[row]), 60, placeholder=" ...")
            raise UserError(f"{self.at(row, name)}: {cell} is no single value")
        text = column.map(str, na_action="ignore").astype("str").str.strip()
        return text.mask(text.isin(MISSING | set(self.reading.missing or ())))
