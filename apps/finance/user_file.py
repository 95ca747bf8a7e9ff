"""The user's CSV file of daily prices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from apps.base.csv_table import numbers, read_text
from apps.errors import UserError

_PRICES = ("open", "high", "low", "close", "adj_close")
LONG_GAP = 7  # calendar days


def read_prices(
    path: Path, date: str = "date", close: str | None = None
) -> tuple[pd.DataFrame, str]:
    """Read daily prices: a date, a close and, if there, open, high, low, adj_close and volume.

    Names are compared without regard to case, with `_` for a space. close: the column to take;
    None takes `adj_close` (adjusted for splits and dividends) where there is one, else `close`.
    Days with a volume of zero had no trade and are left out. Returns the columns date, close
    and, if the file has both, high and low; and one line on what was done.

    Raises UserError for a missing column or cell, a price that is not above zero, a high below
    the low, and dates that are no dates, out of order or repeated.
    """
    text = read_text(path)
    text = text.rename(columns=_plain)
    repeated = text.columns[text.columns.duplicated()]
    if len(repeated):
        raise UserError(f"{path}: column {repeated[0]!r} is there twice")
    close = _plain(close or ("adj_close" if "adj_close" in text.columns else "close"))
    for name in (_plain(date), close):
        if name not in text.columns:
            raise UserError(f"{path}: no column {name!r}; there are {', '.join(text.columns)}")
    columns = {name: _prices(path, text[name]) for name in {*_PRICES, close} & {*text.columns}}
    table = pd.DataFrame({"date": _dates(path, text[_plain(date)]), "close": columns[close]})
    if {"high", "low"} <= set(columns):
        _check_range(path, columns["high"], columns["low"])
        table = table.assign(high=columns["high"], low=columns["low"])
    notes = [f"{path.name}: returns from {close!r}"]
    if "volume" in text.columns:
        idle = (numbers(path, text["volume"]) == 0).to_numpy()
        if idle.any() and not idle.all():
            table = table[~idle]
            notes.append(f"{int(idle.sum())} days without trade left out")
    return table, "; ".join(notes + _gaps(table["date"]))


def _plain(name: object) -> str:
    return str(name).strip().lower().replace(" ", "_")


def _prices(path: Path, text: pd.Series) -> pd.Series:
    values = numbers(path, text)
    bad = (~(values > 0)).to_numpy()
    if bad.any():
        row = int(np.argmax(bad))
        found = "is empty" if pd.isna(values.iloc[row]) else f"{values.iloc[row]:g} is not above 0"
        raise UserError(f"{path}: column {str(text.name)!r}, data row {row + 1}: {found}")
    return values


def _check_range(path: Path, high: pd.Series, low: pd.Series) -> None:
    bad = (high < low).to_numpy()
    if bad.any():
        raise UserError(f"{path}: data row {int(np.argmax(bad)) + 1}: the high is below the low")


def _dates(path: Path, text: pd.Series) -> pd.Series:
    name = str(text.name)
    # The day of the file's own clock: a time of the day and an offset do not matter.
    written = text.str.strip().str.extract(r"^(\d{4}-\d{2}-\d{2})(?:[T ].*)?$")[0]
    dates = pd.to_datetime(written, format="%Y-%m-%d", errors="coerce")
    if dates.isna().any():
        row = int(np.argmax(dates.isna()))
        cell = "an empty cell" if pd.isna(text.iloc[row]) else repr(text.iloc[row])
        raise UserError(
            f"{path}: column {name!r}, data row {row + 1}: {cell} is not a date such as 2024-01-31"
        )
    steps = np.diff(dates.to_numpy())
    if (steps <= np.timedelta64(0)).any():
        row = int(np.argmax(steps <= np.timedelta64(0))) + 1
        where = f"{path}: column {name!r}, data row {row + 1}: {dates[row]:%Y-%m-%d}"
        if dates.is_unique:
            raise UserError(f"{where} comes after {dates[row - 1]:%Y-%m-%d}; rows must be in order")
        raise UserError(f"{where}: a date is repeated; one row a day is needed")
    return dates


def _gaps(dates: pd.Series) -> list[str]:
    """The longest stretch without a row, if it is no mere holiday."""
    steps = dates.diff().dt.days
    if not (steps > LONG_GAP).any():
        return []
    longest = int(np.argmax(steps.fillna(0)))
    return [
        f"{int((steps > LONG_GAP).sum())} gaps of more than {LONG_GAP} days kept as one return, "
        f"the longest before {dates.iloc[longest]:%Y-%m-%d}"
    ]
