"""The times of a table's rows: which columns hold them, and what each says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from apps.errors import UserError
from apps.tables.table import Table
from apps.tables.time_columns import holds_dates
from apps.tables.written_times import Written, parse

_INTERVAL = r"^(\d\d?:\d\d(?::\d\d)?)\s*[-\u2013].*$"  # from - to; the start counts
_MIDNIGHT = r"[T ]0?0:00(:00(\.0+)?)?$"  # of a spreadsheet's days
_SHEET_DAYS = (2e4, 8e4)  # 1954 to 2119 as spreadsheets count days
_DAY = pd.Timedelta(days=1)
_ROUNDED = pd.Timedelta(milliseconds=10)  # by which spreadsheets miss the second


@dataclass(frozen=True, eq=False)
class Times:
    """The times (N,) of a table's rows as its own clock shows them.

    names: of the columns they come from. wall: tz-naive. offsets: from UTC, None where none is
    written. written: how, for writing more like them. notes: what was made of them.
    """

    names: tuple[str, ...]
    wall: pd.DatetimeIndex
    offsets: pd.TimedeltaIndex | None
    written: Written
    notes: tuple[str, ...] = ()

    def take(self, kept: np.ndarray) -> Times:
        """Some of the times, in the order given."""
        offsets = None if self.offsets is None else self.offsets[kept]
        return replace(self, wall=self.wall[kept], offsets=offsets)


def read_times(table: Table, names: Sequence[str], timezone: str | None = None) -> Times:
    """The times in one column, or in one of dates (or year, month and day) and one of hours.

    Beside hours there may be minutes, and instead of them times of the day. Hours from 1 to 24, and
    times of the day up to 24:00, name the end of an hour, and half hours from 1 to 48 that of a
    half hour; their start is taken. Where they are counted on to 25 or 50 on the day when clocks
    go back, they count from the midnight of `timezone`. What misses the second by a spreadsheet's
    rounding is rounded.

    Raises UserError naming the row for a cell that is no time, for a UTC offset that some rows
    lack, where day and month cannot be told apart, and where such hours have no `timezone`.
    """
    table.require(names)
    if not 1 <= len(names) <= 5:
        raise UserError(
            f"data.timestamp={list(names)}: one column, or one of dates and one of hours, or those "
            "of year, month, day and hour, and one of minutes"
        )
    whole = 3 if len(names) > 3 or (len(names) == 3 and not holds_dates(table, names[0])) else 1
    text = _dates(table, names[:whole])
    hours: pd.TimedeltaIndex | None = None
    notes: list[str] = []
    if len(names) > whole:
        days = text.str.replace(_MIDNIGHT, "", regex=True)
        text, hours, notes = _joined(table, days, names[whole], timezone)
    if hours is not None and len(names) > whole + 1:
        hours += _minutes(table, names[-1])
    written = parse(text.reset_index(drop=True), table.reading.dayfirst)
    if written.ambiguous and table.reading.seen_dayfirst is not None:
        written = parse(text.reset_index(drop=True), table.reading.seen_dayfirst)
    _check(table, names[0], text, written)
    wall = written.wall if hours is None else written.wall + hours
    wall = _on_the_second(wall)
    if written.dayfirst is not None:
        notes.append(f"{names[0]!r} read with the {'day' if written.dayfirst else 'month'} first")
    if written.unit:
        notes.append(f"{names[0]!r} read as {written.unit} since 1970 (UTC)")
    offsets = written.offsets if written.offsets.notna().all() else None
    if timezone is not None and hours is not None and hours.max() >= pd.Timedelta(days=1):
        midnight = written.wall.tz_localize(timezone, ambiguous="NaT", nonexistent="shift_forward")
        offsets = pd.TimedeltaIndex(written.wall - midnight.tz_convert("UTC").tz_localize(None))
    return Times(tuple(names), wall, offsets, written, tuple(notes))


def _dates(table: Table, names: Sequence[str]) -> pd.Series:
    """The text of a column of times or dates, or of dates in three columns."""
    if len(names) > 2:
        year, month, day = (
            table.text(name).str.removesuffix(".0").str.zfill(2) for name in names[:3]
        )
        return year + "-" + month + "-" + day
    column = table.cells[names[0]]
    if not pd.api.types.is_datetime64_any_dtype(column.dtype):
        return table.text(names[0])
    return column.map(lambda time: time.isoformat(), na_action="ignore").astype("str")


def _joined(
    table: Table, dates: pd.Series, name: str, timezone: str | None
) -> tuple[pd.Series, pd.TimedeltaIndex | None, list[str]]:
    """Dates with the times of the day beside them, or hours to add to the dates."""
    times = table.text(name).str.replace(_INTERVAL, r"\1", regex=True)
    numbers = pd.to_numeric(times, errors="coerce")
    if not (numbers.notna() | times.isna()).all():
        whole = times.str.replace(r"^(\d):", r"0\1:", regex=True)
        spans = pd.to_timedelta(
            whole.str.replace(r"^(\d\d:\d\d)$", r"\1:00", regex=True), errors="coerce"
        )
        of_the_day = np.unique(spans.dropna().to_numpy())
        if spans.notna().all() and of_the_day[0] > np.timedelta64(0) and of_the_day[-1] == _DAY:
            note = f"{name!r} up to 24:00 read as the end of its interval"
            length = np.diff(of_the_day).min(initial=of_the_day[0])
            return dates, pd.TimedeltaIndex(spans - length), [note]
        return dates + " " + whole, None, []
    first, last = float(numbers.min()), float(numbers.max())
    if last > 50:  # 0 to 2300, or 100 to 2400
        numbers, first, last = numbers // 100 + numbers % 100 / 60, first // 100, last // 100
    if last in (25, 49, 50) and timezone is None:
        row = int(np.argmax(numbers > (24 if last == 25 else 48)))
        raise UserError(
            f"{table.at(row, name)}: {times.iloc[row]!r}: hours that are counted on when clocks go "
            "back; set data.timezone, such as Europe/London, in which they are"
        )
    notes, length, shift = [], 1.0, 0
    if first == 1 and last >= 24:
        length, shift = (0.5 if last > 25 else 1.0), 1
        notes = [f"{name!r} from 1 to {last:g} read as the end of its {'half ' * (last > 25)}hour"]
    if numbers.isna().any():
        row = int(np.argmax(numbers.isna()))
        raise UserError(f"{table.at(row, name)}: an empty cell is not an hour")
    hours = pd.to_timedelta(((numbers - shift) * length).to_numpy(), unit="h").round("s")
    return dates, pd.TimedeltaIndex(hours), notes


def _on_the_second(wall: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """Times of which some miss the second, as a spreadsheet's do; ends of days miss it all."""
    whole = wall.round("s")
    missed = np.asarray(whole != wall)
    near = np.asarray(abs(whole - wall) <= _ROUNDED)
    return whole if missed.any() and not missed.all() and near.all() else wall


def _minutes(table: Table, name: str) -> pd.TimedeltaIndex:
    minutes = pd.to_numeric(table.text(name), errors="coerce")
    bad = ~minutes.between(0, 59)
    if bad.any():
        row = int(np.argmax(bad))
        raise UserError(f"{table.at(row, name)}: {table.cells[name].iloc[row]!r} is no minute")
    return pd.TimedeltaIndex(pd.to_timedelta(minutes.to_numpy(), unit="min"))


def _cure(cell: object) -> str:
    """What to do about a cell that is no time, where its form tells."""
    try:
        number = float(str(cell))
    except ValueError:
        foreign = re.search(r"\d.*[^\W\d_]{3}|[^\W\d_]{3}.*\d", str(cell))
        return "; months are read in English, zones as offsets such as +01:00" if foreign else ""
    if _SHEET_DAYS[0] < number < _SHEET_DAYS[1]:
        return "; it looks like a spreadsheet's count of days: save the column as dates in it"
    return ""


def _check(table: Table, name: str, text: pd.Series, written: Written) -> None:
    if written.wall.hasnans:
        row = int(np.argmax(written.wall.isna()))
        cell = "an empty cell" if pd.isna(text.iloc[row]) else repr(text.iloc[row])
        form = written.format
        like = "a time such as 2024-01-31 13:30"
        if form is not None and written.wall.notna().sum() > 1:
            like = f"a time like the others, such as {written.wall[written.wall.notna()][0]:{form}}"
        raise UserError(f"{table.at(row, name)}: {cell} is not {like}{_cure(text.iloc[row])}")
    if written.ambiguous:
        row = int(np.argmax(np.asarray(written.wall.day != written.wall.month)))
        raise UserError(
            f"{table.at(row, name)}: {text.iloc[row]!r} may have the day or the month first; set "
            "data.dayfirst=true or data.dayfirst=false"
        )
    missing = written.offsets.isna()
    if missing.any() and not missing.all():
        row = int(np.argmax(missing))
        raise UserError(f"{table.at(row, name)}: no UTC offset, others have one")
