"""Read the user's CSV file strictly: every flaw is one clear line, none is guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from apps.errors import UserError


def read_text(path: Path, only_empty: bool = False) -> pd.DataFrame:
    """Every cell as text, empty cells (and such words as NA, unless `only_empty`) as NaN.

    Raises UserError for a file that cannot be read as a table, repeated columns and no rows.
    """
    check_encoding(path)
    blanks = {"keep_default_na": False, "na_values": [""]} if only_empty else {}
    try:
        # The first line is read alone: pandas would silently rename a repeated column.
        with path.open(encoding="utf-8-sig") as stream:
            header = pd.read_csv(stream, header=None, dtype=str, nrows=1).iloc[0]
        text = pd.read_csv(path, dtype=str, encoding="utf-8-sig", index_col=False, **blanks)
    except pd.errors.EmptyDataError:
        raise UserError(f"{path}: the file is empty") from None
    except pd.errors.ParserError as error:
        raise UserError(f"{path}: not a CSV table ({' '.join(str(error).split())})") from None
    repeated = header[header.duplicated() & header.notna()]
    if len(repeated):
        raise UserError(f"{path}: column {repeated.iloc[0]!r} is there twice")
    if text.empty:
        raise UserError(f"{path}: a header but no rows")
    return text


def check_encoding(path: Path) -> None:
    """UserError, naming the line, for a file that is not UTF-8 text or cannot be read."""
    number = 0
    try:
        with path.open("rb") as stream:
            for line in stream:
                number += 1
                line.decode("utf-8")
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise UserError(f"{path}: {reason}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: line {number}: not UTF-8 text ({error.reason})") from None


def to_numeric(text: pd.Series) -> pd.Series:
    """Numbers, with true and false as 1 and 0; NaN for anything else."""
    flags = text.str.strip().str.lower().map({"true": 1.0, "false": 0.0})
    return pd.to_numeric(text, errors="coerce").astype(float).fillna(flags)


def numbers(path: Path, text: pd.Series) -> pd.Series:
    """A column as float64, empty cells as NaN; UserError names the first cell that is no number."""
    found = to_numeric(text)
    bad = (found.isna() & text.notna()) | np.isinf(found)
    if bad.any():
        row = int(np.argmax(bad))
        raise UserError(
            f"{path}: column {str(text.name)!r}, data row {row + 1}:"
            f" {text.iloc[row]!r} is not a finite number"
        )
    return found
