"""The user's texts: a CSV file, JSON lines, or plain lines of text."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from apps.base.csv_table import check_encoding, read_text
from apps.errors import UserError

_JSON = (".jsonl", ".ndjson")


def read_rows(path: Path, plain: str | None = None) -> pd.DataFrame:
    """The rows of a .csv, .jsonl or .txt file as text cells; an empty cell is NaN.

    plain: the name for the column that the lines of a .txt file become; None refuses them.
    Raises UserError naming the row for a file that cannot be read.
    """
    kind = path.suffix.lower()
    if kind == ".csv":
        return read_text(path, only_empty=True)
    if kind in _JSON:
        rows = pd.DataFrame([_record(path, i, line) for i, line in _lines(path)])
    elif kind == ".txt" and plain is not None:
        rows = pd.DataFrame({plain: [line or None for _, line in _lines(path)]}, dtype=object)
    else:
        known = [".csv", *_JSON] + ([".txt"] if plain is not None else [])
        raise UserError(f"{path}: the name must end in {', '.join(known)}")
    if rows.empty:
        raise UserError(f"{path}: the file is empty")
    return rows


def _lines(path: Path) -> list[tuple[int, str]]:
    check_encoding(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    lines = text.split("\n")
    return list(enumerate(lines[:-1] if lines[-1] == "" else lines, 1))


def _record(path: Path, number: int, line: str) -> dict[str, str | None]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise UserError(f"{path}: line {number}: not JSON ({error})") from None
    if not isinstance(record, dict):
        raise UserError(f"{path}: line {number}: not a JSON object with named values")
    return {
        str(key): None if value is None or value == "" else str(value)
        for key, value in record.items()
    }


def column(rows: pd.DataFrame, name: str, path: Path) -> pd.Series:
    """A column by name; UserError listing those there are."""
    if name not in rows.columns:
        there = ", ".join(map(str, rows.columns))
        raise UserError(f"{path}: no column {name!r}; there are {there}")
    return rows[name]
