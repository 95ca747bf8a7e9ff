"""The times of a table's rows: which columns hold them, and what each says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from textwrap import shorten

import numpy as np
import pandas as pd

from apps.errors import UserError
from apps.tables.table import Table
from apps.tables.written_times import Written, parse

_FIRST = ("timestamp", "datetime", "utctimestamp", "timestamputc", "datetimeutc", "utc", "ds")
_HOURS = frozenset(
    [
        "hour",
        "hr",
        "he",
        "hourending",
        "hourbeginning",
        "hourstarting",
        "hourstart",
        "starttime",
        "start",
        "from",
        "time",
        "period",
        "settlementperiod",
        "uhrzeit",
        "stunde",
        "zeit",
        "anfang",
        "beginn",
        "von",
        "heure",
        "heures",
        "hora",
        "ora",
    ]
)
_INTERVAL = r"^(\d\d?:\d\d(?::\d\d)?)\s*[-\u2013].*$"  # from - to; the start counts
_CALENDAR = ("year", "month", "day")
_MIDNIGHT = r"[T ]0?0:00(:00(\.0+)?)?$"  # of a spreadsheet's days
_SHEET_DAYS = (2e4, 8e4)  # 1954 to 2119 as spreadsheets count days
_SAMPLE = 40  # rows by which a column of times is known


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


def find_times(table: Table) -> list[str]:
    """The column of times, or those of the date and of the hour, or of year, month, day and hour.

    A column of a usual name comes first, then the first one that holds dates. UserError where
    there is none.
    """
    dated = [name for name in table.names if _holds_dates(table, name)]
    usual = [name for name in table.names if _plain(name) in (*_FIRST, "date", "time")]
    hours = [other for other in table.names if _plain(other) in _HOURS and other not in dated]
    by_name = {_plain(name): name for name in reversed(table.names)}
    if not dated and all(name in by_name for name in _CALENDAR):
        return [*(by_name[name] for name in _CALENDAR), *hours[:1]]
    if not dated and usual:
        return usual[:1]  # whose first cell will be named
    if not dated:
        cure = "name it with data.timestamp=COLUMN"
        if table.found.startswith("Excel"):
            cure = "name it with data.timestamp=COLUMN, or its sheet with data.sheet=SHEET"
        elif len(table.names) == 1:
            cure = "if they are several, name what separates them, such as data.sep=blank"
        raise UserError(
            f"{table.path}: no column of times such as 2024-01-31 13:30; there are "
            f"{shorten(', '.join(table.names), 500, placeholder=' ...')}; {cure}"
        )
    name = min(dated, key=lambda name: _rank(name))
    if hours and _is_date(table, name):
        return [name, hours[0]]
    return [name]


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _rank(name: str) -> int:
    return _FIRST.index(_plain(name)) if _plain(name) in _FIRST else len(_FIRST)


def _sample(table: Table, name: str) -> pd.Series:
    head = replace(table, cells=table.cells.loc[:, [name]].head(_SAMPLE))
    return head.text(name).dropna()


def _holds_dates(table: Table, name: str) -> bool:
    column = table.cells[name]
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return True
    if pd.api.types.is_float_dtype(column.dtype) or isinstance(column.iloc[0], list | dict):
        return False
    sample = _sample(table, name)
    return len(sample) > 0 and bool(parse(sample).wall.notna().mean() > 0.5)


def _is_date(table: Table, name: str) -> bool:
    """Whether a column of times holds days alone, each several times."""
    sample = _sample(table, name)
    wall = parse(sample).wall
    return bool((wall == wall.normalize()).all()) and bool(wall.has_duplicates or len(wall) < 2)


def read_times(table: Table, names: Sequence[str], timezone: str | None = None) -> Times:
    """The times in one column, or in one of dates (or year, month and day) and one of hours.

    Instead of hours there may be times of the day. Hours from 1 to 24 name the end of an hour, and
    half hours from 1 to 48 that of a half hour; their start is taken. Where they are counted on to
    25 or 50 on the day when clocks go back, they count from the midnight of `timezone`.

    Raises UserError naming the row for a cell that is no time, for a UTC offset that some rows
    lack, where day and month cannot be told apart, and where such hours have no `timezone`.
    """
    table.require(names)
    if not 1 <= len(names) <= 4:
        raise UserError(
            f"data.timestamp={list(names)}: one column, or one of dates and one of hours, or those "
            "of year, month, day and hour"
        )
    text = _dates(table, names)
    hours: pd.TimedeltaIndex | None = None
    notes: list[str] = []
    if len(names) in (2, 4):
        days = text.str.replace(_MIDNIGHT, "", regex=True)
        text, hours, notes = _joined(table, days, names[-1], timezone)
    written = parse(text.reset_index(drop=True), table.reading.dayfirst)
    if written.ambiguous and table.reading.seen_dayfirst is not None:
        written = parse(text.reset_index(drop=True), table.reading.seen_dayfirst)
    _check(table, names[0], text, written)
    wall = written.wall if hours is None else written.wall + hours
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
