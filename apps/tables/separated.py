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
    delimiter, quoting = _dialect(text, sep)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True
    )
    try:
        rows = list(reader)
    except csv.Error as error:
        raise UserError(
            f"{path}: line {reader.line_num}: {error}; a quote inside a quoted cell must be doubled"
        ) from None
    while rows and not rows[-1]:
        rows.pop()
    return rows, delimiter


def _dialect(text: str, sep: str | None) -> tuple[str, Literal[0, 3]]:
    """The separator and how quotes are meant, found by clevercsv in the first lines."""
    sample = "".join(text[:_SAMPLE].splitlines(keepends=True)[:_SAMPLE_LINES])
    if len(text) > len(sample):
        sample = sample[: sample.rfind("\n") + 1] or sample
    signs = [sep] if sep else ["\t"] if _is_tabbed(sample) else _SIGNS
    found = clevercsv.Sniffer().sniff(sample, delimiters=signs)
    literal = found is not None and found.quotechar == "" and '"' in sample
    delimiter = sep or (found.delimiter if found else "") or ","
    return delimiter, csv.QUOTE_NONE if literal else csv.QUOTE_MINIMAL


def _is_tabbed(sample: str) -> bool:
    """Whether all lines have as many tabs, which prose has none of; of commas it is full."""
    counts = {line.count("\t") for line in sample.splitlines() if line.strip()}
    return len(counts) == 1 and counts != {0}


def separator_name(delimiter: str) -> str:
    """A separator as an account names it: `CSV` or `semicolon-separated`."""
    return "CSV" if delimiter == "," else f"{sign_name(delimiter)}-separated"
