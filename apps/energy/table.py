"""Read a CSV file of times and numbers strictly: every flaw is one clear line, none is guessed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from apps.base.csv_table import numbers, read_text, to_numeric
from apps.energy.calendar import parse_offset
from apps.errors import UserError

_OFFSET = r"(Z|[+-]\d{2}:?\d{2})$"


def read_table(
    path: Path,
    *,
    timestamp: str,
    target: str,
    covariates: Sequence[str] | None = None,
    utc_offset: str | None = None,
) -> tuple[pd.DataFrame, str | None]:
    """Read a CSV file into a float64 frame of `target` and covariates, indexed by time.

    Times are ISO 8601. Where they carry a UTC offset they are moved to one fixed clock:
    `utc_offset`, or else the smallest offset in the file (standard time). Without
    `covariates` every other column that holds a number is one. Empty cells become NaN; true
    and false become 1 and 0.

    Returns the frame, whose index is strictly increasing and tz-naive and whose first column
    is named `target`, and the UTC offset of its clock (None when unknown).

    Raises UserError when the file or a column is missing, a cell is no number or no time, or
    the times are out of order or repeated.
    """
    text = read_text(path)
    wanted = [timestamp, target, *(covariates or ())]
    for name in wanted:
        if name not in text.columns:
            raise UserError(f"{path}: no column {name!r}; there are {', '.join(text.columns)}")
    if len(set(wanted)) < len(wanted):
        raise UserError(f"{path}: a column is named twice among {', '.join(wanted)}")
    if "target" in wanted[2:] or (covariates is None and "target" in set(text) - {*wanted}):
        raise UserError(f"{path}: only the target may be called 'target'; rename that column")
    times, offset = _times(path, text[timestamp], utc_offset)
    columns = {"target": numbers(path, text[target])}
    if covariates is None:
        others = (text[name] for name in text.columns if name not in wanted)
        # One stray word must not quietly cost a column, so any number makes it a covariate.
        columns |= {
            str(other.name): numbers(path, other)
            for other in others
            if to_numeric(other).notna().any()
        }
    else:
        columns |= {name: numbers(path, text[name]) for name in covariates}
    return pd.DataFrame({k: v.to_numpy() for k, v in columns.items()}, index=times), offset


def _times(
    path: Path, text: pd.Series, utc_offset: str | None
) -> tuple[pd.DatetimeIndex, str | None]:
    name = str(text.name)
    offsets = text.str.strip().str.extract(_OFFSET)[0]
    aware = bool(offsets.notna().all())
    if offsets.notna().any() and not aware:
        row = int(np.argmax(offsets.isna())) + 1
        raise UserError(f"{path}: column {name!r}, data row {row}: no UTC offset, others have one")
    times = pd.DatetimeIndex(
        pd.to_datetime(text.str.strip(), format="ISO8601", errors="coerce", utc=aware)
    )
    if times.hasnans:
        row = int(np.argmax(times.isna()))
        cell = "an empty cell" if pd.isna(text.iloc[row]) else repr(text.iloc[row])
        raise UserError(
            f"{path}: column {name!r}, data row {row + 1}: {cell} is not an ISO 8601 time"
            " such as 2024-01-31 13:30"
        )
    if aware:
        utc_offset = utc_offset or min(offsets.unique(), key=parse_offset)
        times = times.tz_localize(None) + parse_offset(utc_offset)
    _check_order(path, name, times)
    return times.as_unit("us"), utc_offset


def _check_order(path: Path, name: str, times: pd.DatetimeIndex) -> None:
    steps = np.diff(times.to_numpy())
    if (steps > np.timedelta64(0)).all():
        return
    row = int(np.argmax(steps <= np.timedelta64(0))) + 1
    where = f"{path}: column {name!r}, data row {row + 1}: {times[row]}"
    if times.is_unique:
        raise UserError(f"{where} comes after {times[row - 1]}; rows must be in time order")
    raise UserError(f"{where} is repeated; local times with daylight saving need a UTC offset")
