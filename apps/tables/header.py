"""From rows of cells to named columns: what is the header, and which rows do not fit it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from apps.errors import UserError
from apps.tables.table import MISSING

Rows = Sequence[Sequence[Any]]
_COMMENTS = ("#", "%", "//")
_DIGIT, _LETTER = re.compile(r"\d"), re.compile(r"[^\W\d_]")
_RULE = re.compile(r"[-+=:|\s]{3,}")  # under a header, as databases and Markdown draw it
_WHOLE = re.compile(r"[+-]?\d+")
_FORMULA = re.compile(r'="(.*)"')  # a text that a spreadsheet must not take for a number
_SAMPLE = 20  # rows by which a row of units, and a header below an account, is known
_ACCOUNT = 40  # rows above a header, at most
_DEFAULT_NAME = re.compile(r"\d{1,4}")  # what pandas calls a column without a name, or an hour is
_VALUE = re.compile(r"[+-]?\d[\d.,]*([eE][+-]?\d+)?|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*)?")


def to_frame(
    rows: Rows, path: Path, columns: Sequence[str] | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """Named columns of cells, empty ones None, and notes on what was skipped.

    The header is the first row, after comments (`#`, `%`, `//`), lines of one cell above a wider
    table, and an account of the table (`Station,Berlin`); `columns` names the columns of a table
    without one. A row of units or a rule below the header, the header once more, as joined files
    have it, and lines of words below the table become empty rows. Row names as R writes them, for
    which the header has no name, are a column.

    Raises UserError for repeated names, no rows, a first row of values where `columns` is not
    given, and naming the row for one that is longer than the header.
    """
    notes: list[str] = []
    if not any(_width(row) for row in rows):
        raise UserError(f"{path}: the file is empty")
    if columns is None:
        above = _lines_above(rows)
        if above:
            notes.append(f"{above} lines above the header skipped")
        header, rows = rows[above], rows[above + 1 :]
        names = _names(["", *header] if _has_row_names(header, rows) else header, path)
        _check_header(names, rows, path)
        rows = _blank_headers(names, rows, notes)
    else:
        names = list(columns)
        while len(rows) > 1 and _is_comment(rows[0]) and _width(rows[0]) != len(names):
            rows = rows[1:]
        if len(names) < (width := _width(rows[0])):
            raise UserError(
                f"{path}: data.columns names {len(names)} columns, the first row has {width}"
            )
    if not any(_width(row) for row in rows):
        raise UserError(f"{path}: a header but no rows")
    _check_widths(rows, len(names), path, given=columns is not None)
    count = len(names)
    cells = [
        [*(None if c == "" else _bare(c) for c in row[:count])] + [None] * (count - len(row))
        for row in rows
    ]
    short = sum(0 < len(row) < count for row in rows)
    if short:
        notes.append(f"{short} rows shorter than the header, their last cells empty")
    frame = pd.DataFrame(cells, columns=names, dtype=object)
    unnamed = [name for name in names if name.startswith("Unnamed: ") and frame[name].isna().all()]
    return frame.drop(columns=unnamed), notes


def _width(row: Sequence[Any]) -> int:
    """The number of cells up to the last that is not empty."""
    filled = (i for i, cell in enumerate(row, 1) if cell is not None and str(cell).strip())
    return max(filled, default=0)


def _bare(cell: Any) -> Any:
    formula = _FORMULA.fullmatch(cell) if isinstance(cell, str) and cell[:1] == "=" else None
    return formula[1] if formula else cell


def _is_comment(row: Sequence[Any]) -> bool:
    return bool(row) and str(row[0]).lstrip().startswith(_COMMENTS)


def _lines_above(rows: Rows) -> int:
    """How many comments, and lines of a title, an address or an account, are above the header."""
    comments = next((i for i, row in enumerate(rows) if row and not _is_comment(row)), 0)
    account = _account_above(rows, comments)
    if account is not None:
        return account
    common = Counter(_width(row) for row in rows[comments:200]).most_common(1)[0][0]
    above = comments
    while common > 1 and above < len(rows) - 1 and _width(rows[above]) <= 1:
        above += 1
    if not _holds_values(rows[above]):
        return above
    # The header may be a comment itself, `# time,load`.
    return comments - 1 if comments and _width(rows[comments - 1]) == common else comments


def _account_above(rows: Rows, start: int) -> int | None:
    """Where the header is below lines of several cells, such as `Station,Berlin`; None without.

    A blank line ends them, or they have another number of cells. Where their first line could be
    a header itself, their first cells must be words and those below the header none.
    """
    could_head = _heads(rows, start)
    for i in range(start + 1, min(len(rows) - 2, start + _ACCOUNT)):
        above = [row for row in rows[start:i] if _width(row)]
        ended = not _width(rows[i - 1])
        apart = not could_head and all(_width(row) != _width(rows[i]) for row in above)
        if (ended or apart) and max(map(_width, above), default=0) > 1 and _heads(rows, i):
            words = not any(map(_begins_with_figure, above))
            below = [row for row in rows[i + 1 : i + 1 + _SAMPLE] if _width(row)]
            figures = sum(map(_begins_with_figure, below))
            if not could_head or (words and 2 * figures > len(below)):
                return i
    return None


def _heads(rows: Rows, i: int) -> bool:
    """Whether a row of words could be the header of the rows below, most of which hold values."""
    row = rows[i]
    below = [other for other in rows[i + 1 : i + 1 + _SAMPLE] if _width(other)]
    alike = sum(len(other) == len(row) and _holds_values(other) for other in below)
    return (
        _width(row) > 1
        and not _holds_values(row)
        and not MISSING & {str(cell).strip() for cell in row[1 : _width(row)]}
        and any(map(_holds_values, rows[i + 1 : i + 3]))
        and all(_width(other) <= len(row) for other in below)
        and 2 * alike > len(below)
    )


def _begins_with_figure(row: Sequence[Any]) -> bool:
    """Whether the first cell has more digits than letters, as a number or a date has."""
    first = str(row[0])
    return len(_DIGIT.findall(first)) > len(_LETTER.findall(first))


def _has_row_names(header: Sequence[Any], rows: Rows) -> bool:
    """Whether each row begins with its number, for which the header has no name.

    Not where two whole numbers stand side by side in all rows: they may be one with a comma.
    """
    if any(len(row) not in (0, len(header) + 1) for row in rows[:_SAMPLE]):
        return False
    filled = [[str(cell).strip() for cell in row] for row in rows if _width(row)]
    if len(filled) < 2 or any(
        len(row) != len(header) + 1 or row[0] != str(number) for number, row in enumerate(filled, 1)
    ):
        return False
    whole = [all(_WHOLE.fullmatch(row[i]) for row in filled) for i in range(len(header) + 1)]
    return not any(one and other for one, other in pairwise(whole))


def _names(header: Sequence[Any], path: Path) -> list[str]:
    given = [str(cell or "").strip() for cell in header]
    if _is_comment(header):
        given[0] = given[0].lstrip("#%/ ") or given[0]
    free = (f"Unnamed: {i}" for i in range(2 * len(given)) if f"Unnamed: {i}" not in given)
    names = [name or next(free) for name in given]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise UserError(f"{path}: column {repeated[0]!r} is there twice; give each its own name")
    return names


def _blank_headers(names: Sequence[str], rows: Rows, notes: list[str]) -> Rows:
    """Rows without what belongs to the header, each left as an empty one so that all keep their
    numbers."""
    again = [len(names) > 1 and [str(cell).strip() for cell in row] == names for row in rows]
    if any(again):
        notes.append(f"{sum(again)} rows that repeat the header left out")
    rules = [all(map(_is_rule, row)) and _width(row) > 0 for row in rows]
    if any(rules):
        notes.append(f"{sum(rules)} rows of rules ({_shown(rows[rules.index(True)])}) left out")
    units = len(names) > 1 and bool(rows) and not rules[0] and _is_units(rows)
    if units:
        notes.append(f"the row of units ({_shown(rows[0])}) left out")
    end = _end(rows) if len(names) > 1 else len(rows)
    if any(map(_width, rows[end:])):
        notes.append(f"{sum(_width(row) > 0 for row in rows[end:])} lines below the table left out")
    return [
        [] if again[i] or rules[i] or (units and i == 0) or i >= end else row
        for i, row in enumerate(rows)
    ]


def _shown(row: Sequence[Any]) -> str:
    return ", ".join(map(str, filter(None, row)))


def _is_rule(cell: Any) -> bool:
    return cell is None or not str(cell).strip() or _RULE.fullmatch(str(cell)) is not None


def _end(rows: Rows) -> int:
    """How many rows are the table's: not the words below one whose first column has figures."""
    first = [row for row in rows[:_SAMPLE] if _width(row)]
    end = len(rows)
    if sum(map(_begins_with_figure, first)) <= len(first) / 2:
        return end
    while end > 1 and (_width(rows[end - 1]) == 0 or _is_remark(rows[end - 1])):
        end -= 1
    return end


def _is_remark(row: Sequence[Any]) -> bool:
    return _width(row) == 1 and bool(_LETTER.search(str(row[0]))) and not _begins_with_figure(row)


def _is_units(rows: Rows) -> bool:
    """Whether the first row has words without a digit where all below have numbers or times."""
    words = [i for i, cell in enumerate(rows[0]) if cell is not None and str(cell).strip()]
    below = [str(row[i] or "") for row in rows[1:_SAMPLE] for i in words if i < len(row)]
    filled = [cell for cell in below if cell.strip()]
    return (
        len(filled) >= max(2, len(below) // 2)
        and not any(_DIGIT.search(str(rows[0][i])) for i in words)
        and all(len(_DIGIT.findall(cell)) > len(_LETTER.findall(cell)) for cell in filled)
    )


def _holds_values(row: Sequence[Any]) -> bool:
    return any(_is_value(str(cell).strip()) for cell in row)


def _check_header(names: Sequence[str], rows: Rows, path: Path) -> None:
    """UserError where the first row holds values of the kind that the second one does."""
    second = next(([str(cell).strip() for cell in row] for row in rows if _width(row)), None)
    if second is None:
        return
    both = [a for a, b in zip(names, second, strict=False) if _is_value(a) and _is_value(b)]
    is_named = names[0] not in MISSING and not _is_value(names[0]) and _is_value(second[0])
    if both and not (is_named and all(map(_DEFAULT_NAME.fullmatch, both))):
        example = ",".join(f"column{i}" for i in range(1, min(len(names), 3) + 1))
        raise UserError(
            f"{path}: the first row holds values ({both[0]!r}) and no names; name the "
            f"{len(names)} columns with data.columns=[{example}{',...' if len(names) > 3 else ''}]"
        )


def _is_value(cell: str) -> bool:
    return _VALUE.fullmatch(cell) is not None


def _check_widths(rows: Rows, count: int, path: Path, *, given: bool) -> None:
    for number, row in enumerate(rows, 1):
        if len(row) > count and (width := _width(row)) > count:
            what = "data.columns names" if given else "the header has"
            raise UserError(
                f"{path}: data row {number} has {width} cells, {what} {count}: a number or a text "
                'that contains the separator must stand in quotes ("103,63"), or the columns be '
                "separated by another sign (data.sep=semicolon)"
            )
