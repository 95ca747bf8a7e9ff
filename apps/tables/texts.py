"""Texts in the user's files: lines of a .txt file, or a column of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import shorten

import numpy as np
import pandas as pd
import regex

from apps.errors import UserError
from apps.tables.content import decode, read_content
from apps.tables.read import read_table
from apps.tables.reading import Reading
from apps.tables.table import Table, is_nested

# What people call a column of texts; the first that is there is taken.
TEXT_NAMES = (
    *("text", "review", "sentence", "content", "body", "comment", "tweet", "message", "document"),
    *("reviewtext", "review_text", "review_body", "review_content", "full_text"),
    *("reviews", "comment_text", "tweet_text", "phrase", "headline"),
)
_LETTERS = regex.compile(r"[\p{L}\p{M}\p{N}]+")


def read_rows(path: Path, name: str, reading: Reading | None = None) -> Table:
    """The table in a file, or the lines of a .txt file, empty ones too, as the column `name`.

    A .txt file of which the reading names a separator is a table, too. Raises UserError for a file
    that cannot be read.
    """
    if path.suffix.lower() != ".txt" or (reading is not None and reading.sep is not None):
        return read_table(path, reading)
    text, encoding = decode(read_content(path).data, path, reading.encoding if reading else None)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    cells = pd.DataFrame({name: lines[:-1] if lines[-1] == "" else lines}, dtype=object)
    if cells.empty:
        raise UserError(f"{path}: the file is empty")
    return Table(path, cells, np.arange(1, len(cells) + 1), f"lines, encoding {encoding}")


def read_texts(path: Path, name: str) -> Table:
    """The rows of a file to be judged, empty ones too: a table, or each line of a .txt file.

    name: the column of texts, which the lines become. A table without that column may have one of
    the names that people give it. Raises UserError for a file that cannot be read.
    """
    table = read_rows(path, name)
    found = name if name in table.names else find_column(table, None, TEXT_NAMES)
    if found is None:
        table.require([name])
    return (
        table if found == name else replace(table, cells=table.cells.rename(columns={found: name}))
    )


def texts_of(table: Table, name: str) -> list[str]:
    """A column of texts as they stand; "" where there is none. UserError for lists and objects."""
    texts = []
    for row, cell in enumerate(table.cells[name]):
        if is_nested(cell):
            shown = shorten(str(cell), 60, placeholder=" ...")
            raise UserError(f"{table.at(row, name)}: {shown} is no single text")
        missing = cell is None or cell is pd.NA or (isinstance(cell, float) and math.isnan(cell))
        texts.append("" if missing else str(cell))
    return texts


def with_texts(table: Table, name: str) -> tuple[Table, list[str]]:
    """The rows that have a text, and a note on those left out."""
    empty = np.array([not text.strip() for text in texts_of(table, name)])
    if not empty.any():
        return table, []
    if empty.all():
        raise UserError(f"{table.path}: column {name!r} holds no text")
    return table.take(~empty), [f"{int(empty.sum())} rows without a text left out"]


def near_copy(text: str) -> str:
    """What near copies of a text share: its letters and digits, in any script, in lower case."""
    return " ".join(_LETTERS.findall(text.casefold())) or text.strip()


def find_column(table: Table, wanted: str | None, names: Sequence[str]) -> str | None:
    """The column that is asked for, or else the first of these names, in any case of letters.

    Raises UserError, listing the columns, for one that is asked for and is not there.
    """
    if wanted is not None:
        table.require([wanted])
        return wanted
    there = {name.lower().replace(" ", "_"): name for name in reversed(table.names)}
    return next((there[name] for name in names if name in there), None)
