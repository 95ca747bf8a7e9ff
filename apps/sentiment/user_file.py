"""The user's texts: which columns of a table hold what, and what a label is."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import regex

from apps.errors import UserError
from apps.tables.content import decode, read_content
from apps.tables.read import read_table
from apps.tables.table import Table

# What people call a column of texts, of classes, of ratings; the first that is there is taken.
TEXT_NAMES = (
    *("text", "review", "sentence", "content", "body", "comment", "tweet", "message", "document"),
    *("reviewtext", "review_text", "review_body", "review_content", "full_text"),
)
LABEL_NAMES = ("label", "sentiment", "class", "polarity", "category", "airline_sentiment")
RATING_NAMES = ("rating", "stars", "star_rating", "overall", "score")

_WHOLE = re.compile(r"([+-]?\d+)\.0+")
_LETTERS = regex.compile(r"[\p{L}\p{M}\p{N}]+")


def read_texts(path: Path, name: str) -> Table:
    """The rows of a file to be judged, empty ones too: a table, or each line of a .txt file.

    name: the column of texts, which the lines become. A table without that column may have one of
    the names that people give it. Raises UserError for a file that cannot be read.
    """
    if path.suffix.lower() == ".txt":
        text, encoding = decode(read_content(path).data, path)
        lines = text.replace("\r\n", "\n").split("\n")
        cells = pd.DataFrame({name: lines[:-1] if lines[-1] == "" else lines}, dtype=object)
        if cells.empty:
            raise UserError(f"{path}: the file is empty")
        return Table(path, cells, np.arange(1, len(cells) + 1), f"lines, encoding {encoding}")
    table = read_table(path)
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
        if isinstance(cell, list | dict):
            raise UserError(f"{table.at(row, name)}: {cell!r} is no single text")
        missing = cell is None or cell is pd.NA or (isinstance(cell, float) and math.isnan(cell))
        texts.append("" if missing else str(cell))
    return texts


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


def as_label(value: Any) -> str | None:
    """A cell as the name of a class; None where it is missing.

    One rule for cells, for `data.classes` and for every format: blanks around are dropped, true
    and false are written in lower case, whole numbers without a fraction (0, 0.0, "0" and "0.0"
    are one class), and null, NaN and the empty text are missing. Raises ValueError for a list or
    an object.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NA:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        raise ValueError(f"{value!r} is no single label")
    if isinstance(value, numbers.Real) and float(value).is_integer():
        return str(int(float(value)))
    text = str(value).strip()
    if text.lower() in ("true", "false"):
        return text.lower()
    whole = _WHOLE.fullmatch(text)
    return (whole[1] if whole else text) or None


def in_order(labels: set[str]) -> tuple[str, ...]:
    """Labels in the order of their numbers, or of the alphabet where they are none."""
    try:
        return tuple(sorted(labels, key=float))
    except ValueError:
        return tuple(sorted(labels))
