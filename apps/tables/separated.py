"""The rows of a text table, whatever separates its cells."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Literal

import clevercsv

from apps.errors import UserError
from apps.tables.reading import sign_name

_SIGNS = [",", ";", "\t", "|"]
_SAMPLE_LINES = 60
_SAMPLE = 8_000  # characters; detection takes seconds for many more

csv.field_size_limit(2**31 - 1)  # a book is a cell, too

Rows = list[list[str]]


def read_rows(text: str, path: Path, sep: str | None = None) -> tuple[Rows, str]:
    """The cells of every row, a blank line being an empty row, and the separator that was found.

    A cell may run over several lines in quotes. Raises UserError naming the line for quotes that
    do not fit.
    """
    if (place := text.find("\0")) >= 0:
        line = text.count("\n", 0, place) + 1
        raise UserError(f"{path}: line {line}: a NUL byte, which no text has: the file is damaged")
    delimiter, quote = _dialect(text, sep)
    try:
        rows = _parse(text, path, delimiter, quote or '"')
    except UserError:
        if '\\"' in text:  # Spark, MySQL and R escape quotes
            rows = _parse(text, path, delimiter, '"', "\\")
        elif quote:
            raise
        else:
            rows = _parse(text, path, delimiter, None)  # quotes are signs like others
    while rows and not rows[-1]:
        rows.pop()
    return rows, delimiter


def _parse(
    text: str, path: Path, delimiter: str, quote: str | None, escape: str | None = None
) -> Rows:
    quoting: Literal[0, 3] = csv.QUOTE_NONE if quote is None else csv.QUOTE_MINIMAL
    stream = io.StringIO(text, newline="")
    # Columns that blanks align, and `"a", "b"`, have blanks before a cell.
    padded = delimiter == " " or f'"{delimiter} "' in text[:_SAMPLE].partition("\n")[0]
    reader = csv.reader(
        stream,
        delimiter=delimiter,
        quotechar=quote,
        escapechar=escape,
        quoting=quoting,
        strict=True,
        skipinitialspace=padded,
    )
    try:
        return list(reader)
    except csv.Error as error:
        raise UserError(
            f"{path}: line {reader.line_num}: {error}; a quote inside a quoted cell must be doubled"
        ) from None


def _dialect(text: str, sep: str | None) -> tuple[str, str]:
    """The separator and the quote ("" for none), found by clevercsv in the first lines."""
    sample = "".join(text[:_SAMPLE].splitlines(keepends=True)[:_SAMPLE_LINES])
    if len(text) > len(sample):
        sample = sample[: sample.rfind("\n") + 1] or sample
    signs = [sep] if sep else ["\t"] if _is_tabbed(sample) else _SIGNS
    found = clevercsv.Sniffer().sniff(sample, delimiters=signs)
    quote = found.quotechar if found else ""
    return sep or (found.delimiter if found else "") or ",", quote or ""


def _is_tabbed(sample: str) -> bool:
    """Whether all lines have as many tabs, which prose has none of; of commas it is full."""
    counts = {line.count("\t") for line in sample.splitlines() if line.strip()}
    return len(counts) == 1 and counts != {0}


def separator_name(delimiter: str) -> str:
    """A separator as an account names it: `CSV` or `semicolon-separated`."""
    return "CSV" if delimiter == "," else f"{sign_name(delimiter)}-separated"
