"""The user's file of daily prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apps.errors import UserError
from apps.finance.jumps import Splits, mend_jumps
from apps.finance.layouts import known_column, layout, plain
from apps.finance.panel import Panel, make_panel
from apps.tables.numbers import Numbers, looks_numeric, read_numbers
from apps.tables.order import check_order, choose_entity, oldest_first
from apps.tables.read import read_table
from apps.tables.reading import Reading
from apps.tables.table import Table
from apps.tables.time_columns import find_times
from apps.tables.times import Times, read_times

LONG_GAP = 7  # calendar days
_DAILY = 4  # calendar days between rows, at most, of daily prices
_SAME = 1e-9  # relative difference of prices that did not move


@dataclass(frozen=True, slots=True)
class PriceOptions:
    """What a user says about a file of prices; None leaves it to the file.

    date: the column of days. close: that of prices; None takes the adjusted close (for splits
    and dividends) where there is one, else the close. Names are compared without regard to case,
    with `_` for a blank. id, id_column: the asset to take where there are several. splits: what
    a jump that looks like an unadjusted split does: error, adjust or keep. sort: sort rows by
    day. reading: of the file.
    """

    date: str | None = None
    close: str | None = None
    id: str | None = None
    id_column: str | None = None
    splits: Splits = "error"
    sort: bool = False
    reading: Reading = field(default_factory=Reading)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> PriceOptions:
        """The inverse of `to_dict`."""
        return cls(**{**record, "reading": Reading(**record["reading"])})


@dataclass(frozen=True, eq=False)
class Prices:
    """Daily prices: a table of date, close and, if known, high and low.

    found: the file's format. close: the column that was taken. notes: what reading changed.
    options: those given, with what this file decided.
    """

    table: pd.DataFrame
    found: str
    close: str
    notes: tuple[str, ...]
    options: PriceOptions


def read_prices(path: Path, options: PriceOptions | None = None) -> Prices:
    """Read daily prices: a day and a close and, if there, a high, a low and a volume.

    Columns that are not used are not looked at. Days without any price, and those whose volume is
    zero while the close did not move, had no trade and are left out.

    Raises UserError for a missing column or cell, a price that is not above zero, a high below
    the low, days out of order or repeated, bars that are not daily, and jumps like a split.
    """
    options = options or PriceOptions()
    cells = read_table(path, options.reading, layout).without_blank_rows()
    date = _named(cells, options.date) or known_column(cells.names, "date")
    times = read_times(cells, [date] if date else find_times(cells))
    close = _named(cells, options.close) or _close(cells, times.names)
    cells, times = choose_entity(cells, times, close, options.id, options.id_column)
    cells, times = oldest_first(cells, times, sort=options.sort)
    days = times.wall.normalize()
    _check_daily(cells, times)
    check_order(cells, times.names[0], days, "one row a day is needed; take the other out")
    table, notes, decimal = _table(cells, days, close)
    table, split_notes = mend_jumps(table, options.splits, close, str(path))
    every = [f"returns from {close!r}", *cells.notes, *times.notes, *notes, *split_notes]
    every += [*_gaps(table["date"]), *_weeks(table["date"])]
    reading = options.reading.seen(decimal, times.written.dayfirst)
    decided = replace(options, date=times.names[0], close=close, reading=reading)
    return Prices(table.reset_index(drop=True), cells.found, close, tuple(every), decided)


def panel_of(prices: Prices, path: Path, borders: Mapping[str, pd.Timestamp]) -> Panel:
    """The returns of prices, named after their file."""
    panel = make_panel(
        prices.table.assign(asset=path.stem), borders, "; ".join(prices.notes), str(path)
    )
    return replace(panel, found=prices.found, options=prices.options.to_dict())


def _close(table: Table, times: Sequence[str]) -> str:
    """The column of closes by its name, the adjusted first, or else the only one of numbers."""
    close = known_column(table.names, "adj_close") or known_column(table.names, "close")
    if close is not None:
        return close
    usual = {known_column(table.names, what) for what in ("open", "high", "low", "volume")}
    others = [name for name in table.names if name not in usual and name not in times]
    numeric = [name for name in others if looks_numeric(table, name)]
    if len(numeric) != 1:
        raise UserError(
            f"{table.path}: no column 'close'; there are {', '.join(table.names)}; name it with "
            f"data.close=COLUMN{table.sheet_cure}"
        )
    return numeric[0]


def _named(table: Table, name: str | None) -> str | None:
    """The column that a user names, whatever its case; UserError where there is none."""
    if name is None or name in table.names:
        return name
    found = [other for other in table.names if plain(other) == plain(name)]
    if not found:
        raise UserError(f"{table.path}: no column {name!r}; there are {', '.join(table.names)}")
    return found[0]


def _check_daily(table: Table, times: Times) -> None:
    """UserError for bars of minutes, hours, weeks or months."""
    steps = np.abs(np.diff(times.wall.to_numpy())) / np.timedelta64(1, "D")
    steps = steps[steps > 0]
    if len(steps) < 2:
        return
    typical = float(np.median(steps))
    if typical < 0.9:
        raise UserError(
            f"{table.path}: rows are {pd.Timedelta(days=typical)} apart; daily prices are needed: "
            "keep the last row of each day"
        )
    if typical > _DAILY:
        kind = {True: "weekly", typical > 25: "monthly", typical > 80: "quarterly or rarer"}[True]
        raise UserError(
            f"{table.path}: rows are {typical:g} days apart: {kind} bars; daily prices are needed"
        )


def _table(
    table: Table, days: pd.DatetimeIndex, close: str
) -> tuple[pd.DataFrame, list[str], str | None]:
    """The days with a trade: date, close and, where there are both, high and low.

    With notes, and the decimal sign of the close where it says it.
    """
    notes = []
    usual = {known_column(table.names, what) for what in ("open", "high", "low", "close")}
    names = [name for name in table.names if name in {close} | usual]
    priced = pd.DataFrame({name: table.text(name).notna() for name in names}).any(axis=1)
    kept = priced.to_numpy(bool)
    if not kept.all():
        notes.append(f"{int((~kept).sum())} days without any price left out")
        table, days = table.take(kept), days[kept]
    if not len(table):
        raise UserError(f"{table.path}: column {close!r}: no day has a price")
    numbers = _prices(table, close)
    notes += numbers.notes
    frame = pd.DataFrame({"date": days, "close": numbers.values})
    high, low = (known_column(table.names, what) for what in ("high", "low"))
    if high and low:
        frame["high"], frame["low"] = _prices(table, high).values, _prices(table, low).values
        _check_range(table, frame["high"], frame["low"])
    idle = _without_trade(table, frame["close"]) | _stale_weekends(days, frame["close"])
    if idle.any():
        notes.append(f"{int(idle.sum())} days without trade left out")
    return frame[~idle], notes, numbers.decimal


def _without_trade(table: Table, close: pd.Series) -> NDArray[np.bool_]:
    """Days (N,) with a volume of zero whose close is that of the day before."""
    volume = known_column(table.names, "volume")
    if volume is None or not looks_numeric(table, volume):
        return np.zeros(len(table), dtype=bool)
    values = read_numbers(table, volume).values
    moved = close.diff().abs() > _SAME * close
    if (values == 0).all():  # an index without any
        return np.zeros(len(table), dtype=bool)
    idle: NDArray[np.bool_] = (values == 0) & ~moved.to_numpy() & (np.arange(len(close)) > 0)
    return idle


def _stale_weekends(days: pd.DatetimeIndex, close: pd.Series) -> NDArray[np.bool_]:
    """Saturdays and Sundays (N,) of a series in which each only repeats the day before."""
    weekend = np.asarray(days.day_of_week >= 5)
    moved = (close.diff().abs() > _SAME * close).to_numpy()
    stale = weekend & (np.arange(len(close)) > 0)
    return stale if not moved[stale].any() else np.zeros(len(close), dtype=bool)


def _prices(table: Table, name: str) -> Numbers:
    numbers = read_numbers(table, name)
    bad = ~(numbers.values > 0)
    if bad.any():
        row = int(np.argmax(bad))
        value = numbers.values[row]
        found = "is empty" if np.isnan(value) else f"{value:g} is not above 0"
        raise UserError(
            f"{table.at(row, name)}: {found}; take the row out, or take other prices with "
            "data.close=COLUMN"
        )
    return numbers


def _check_range(table: Table, high: pd.Series, low: pd.Series) -> None:
    if (high < low).any():
        raise UserError(
            f"{table.where(int(np.argmax((high < low).to_numpy())))}: the high is below the low"
        )


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


def _weeks(dates: pd.Series) -> list[str]:
    """Said where weekends are traded, as with cryptocurrencies."""
    weekend = float((dates.dt.day_of_week >= 5).mean())
    return ["weeks of seven days"] if weekend > 0.2 else []
