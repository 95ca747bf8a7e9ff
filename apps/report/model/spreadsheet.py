"""CSV files that a spreadsheet opens: text of a user's file is never a formula there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd

from data_scripts.files import replacing

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBER = re.compile(r"[+-]?(\d[\d.,]*|\.\d+|inf|nan)(e[+-]?\d+)?\s*%?", re.IGNORECASE)


def write_csv(table: pd.DataFrame, path: Path, *, raw: bool = False, **options: Any) -> None:
    """Write a table without its index.

    A text that a spreadsheet would take for a formula, since it begins with `=`, `+`, `-`, `@` or a
    tab, gets an apostrophe before it, and so do names of columns; numbers stay as they are.
    raw: leave everything as it is. options: further ones of `DataFrame.to_csv`.
    """
    with replacing(path) as temporary:
        (table if raw else _neutral(table)).to_csv(temporary, index=False, **options)


def _neutral(table: pd.DataFrame) -> pd.DataFrame:
    changed = table.rename(columns=_cell)
    for place, kind in enumerate(table.dtypes):
        if not pd.api.types.is_numeric_dtype(kind):
            changed.isetitem(place, table.iloc[:, place].map(_cell))
    return changed


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_FORMULA) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value
