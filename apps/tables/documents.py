"""Tables inside JSON: lines of objects, a list of objects or rows, or columns of values."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd

from apps.errors import UserError

_JSON = re.compile(r"\s*(\{|\[\s*[\[{])")
_NAMED_JSON = re.compile(r"\s*[\[{]")
_LINES = (".jsonl", ".ndjson")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}|\d{10}(\d{3}){0,3}$")  # also since 1970


def looks_like_json(text: str, path: Path) -> bool:
    """Whether a text begins as an object, or as a list of objects or of rows, or is named so."""
    suffix = path.suffix.lower()
    if suffix in _LINES:
        return bool(text.strip())
    return (_NAMED_JSON if suffix == ".json" else _JSON).match(text) is not None


def read_json(text: str, path: Path) -> tuple[pd.DataFrame | list[list[Any]], str]:
    """A table of plain JSON values, or rows without a header, and `JSON` or `JSON lines`.

    Raises UserError naming the line for text that is no JSON or holds no table.
    """
    lines = [(i, line) for i, line in enumerate(text.split("\n"), 1) if line.strip()]
    try:
        is_lines = path.suffix.lower() in _LINES and not text.lstrip().startswith("[")
        document = None if is_lines else json.loads(text)
    except ValueError as error:
        if len(lines) < 2 or not lines[0][1].rstrip().endswith("}"):
            raise UserError(f"{path}: not JSON ({error})") from None
        document = None
    if document is None:
        return _frame([_record(path, number, line) for number, line in lines]), "JSON lines"
    if isinstance(document, dict) and len(lines) == 1 and _is_record(document):
        return _frame([document]), "JSON lines"
    return _table(document, path), "JSON"


def _record(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise UserError(f"{path}: line {number}: not JSON ({error})") from None
    if not isinstance(record, dict):
        raise UserError(f"{path}: line {number}: not a JSON object with named values")
    return record


def _frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(records, dtype=object)


def _is_record(document: dict[str, Any]) -> bool:
    """Whether an object is a row: it has names, which are no times, and plain values."""
    return bool(document) and not _deep(document) and not all(map(_TIME.match, document))


def _table(document: Any, path: Path) -> pd.DataFrame | list[list[Any]]:
    if isinstance(document, list) and document:
        if all(isinstance(row, dict) for row in document):
            return _frame(document)
        if all(isinstance(row, list) for row in document):
            return document
    if isinstance(document, dict) and document:
        if {"columns", "data"} <= set(document):
            return _of_split(document)
        inner = list(document.values())
        if all(map(_TIME.match, document)) and not _deep(document):
            return _frame([{"timestamp": time, "value": x} for time, x in document.items()])
        if all(isinstance(value, dict) and not _deep(value) for value in inner):
            return _of_objects(document)
        if all(isinstance(value, list) and not _deep(value) for value in inner) and (
            len({len(value) for value in inner}) == 1
        ):
            return pd.DataFrame(document, dtype=object)
        columns = {k: v for k, v in document.items() if isinstance(v, list) and not _deep(v)}
        if (
            len(columns) > 1
            and len(set(map(len, columns.values()))) == 1
            and not _deep_besides(document, columns)
        ):
            return pd.DataFrame(columns, dtype=object)
        tables = [value for value in inner if isinstance(value, dict | list)]
        if tables:
            return _table(max(tables, key=lambda value: (_deep(value), len(value))), path)
    raise UserError(
        f"{path}: JSON without a table; a list of objects, an object a line, or an object of "
        "columns is one"
    )


def _deep(value: dict[str, Any] | list[Any]) -> bool:
    """Whether objects or lists are inside: then it is no column of values."""
    inside = value.values() if isinstance(value, dict) else value
    return any(isinstance(item, dict | list) for item in inside)


def _deep_besides(document: dict[str, Any], columns: dict[str, Any]) -> bool:
    """Whether anything but plain values stands beside columns."""
    return _deep({name: value for name, value in document.items() if name not in columns})


def _of_split(document: dict[str, Any]) -> list[list[Any]]:
    """Rows under their names, with the index of pandas unless it merely counts them."""
    names, rows = list(document["columns"]), list(document["data"])
    index = document.get("index")
    if not isinstance(index, list) or index == list(range(len(rows))) or len(index) != len(rows):
        return [names, *rows]
    return [["timestamp", *names], *([key, *row] for key, row in zip(index, rows, strict=True))]


def _counts(keys: pd.Index) -> bool:
    return list(keys) == [str(number) for number in range(len(keys))]


def _of_objects(document: dict[str, dict[str, Any]]) -> pd.DataFrame | list[list[Any]]:
    """An object of objects: rows by their time or number, columns by name, or the more as rows."""
    if all(_TIME.match(key) for key in document):
        return _frame([{"timestamp": key} | row for key, row in document.items()])
    frame = pd.DataFrame(document, dtype=object)
    if all(isinstance(key, str) and _TIME.match(key) for key in frame.index):
        return frame.rename_axis("timestamp").reset_index()
    by_number, by_name = _counts(frame.columns), _counts(frame.index)
    if by_number > by_name or (by_number == by_name and len(frame.columns) > len(frame)):
        return _frame(list(document.values()))
    return frame.reset_index(drop=True)
