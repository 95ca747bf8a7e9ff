"""From times as a file writes them to one fixed clock, and back."""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from apps.energy.calendar import parse_offset, to_civil, zone_of
from apps.errors import UserError
from apps.tables.table import Table
from apps.tables.times import Times

HOUR = pd.Timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Clock:
    """The fixed clock of a series, and how the file wrote its times.

    utc_offset: of the clock, None where unknown. timezone: of the civil times. local: whether
    the file has civil times without an offset. written_offset: the offset that it writes, `Z` or
    such as `+01:00`; None for none. format: of strftime; None for numbers of `unit` since 1970.
    """

    utc_offset: str | None = None
    timezone: str | None = None
    local: bool = False
    written_offset: str | None = None
    format: str | None = "%Y-%m-%d %H:%M:%S"
    unit: str | None = None

    def write(self, times: pd.DatetimeIndex) -> list[str]:
        """Times of the fixed clock in the form and zone that the file has.

        The time of the day follows a form that has only the date, as beside a column of hours.
        """
        if self.unit is not None:
            utc = times - parse_offset(self.utc_offset or "Z")
            return [str(time) for time in utc.as_unit(self.unit).asi8.tolist()]
        form = self.format or "%Y-%m-%d %H:%M:%S"
        if not {"%H", "%I"} & set(re.findall("%.", form)) and (times != times.normalize()).any():
            form += " %H:%M"
        if self.local:
            return list(to_civil(times, self.timezone, self.utc_offset).strftime(form))
        if self.written_offset is None:
            return list(times.strftime(form))
        utc = (times - parse_offset(self.utc_offset or "Z")).tz_localize("UTC")
        if self.timezone is not None:
            shown = utc.tz_convert(zone_of(self.timezone))
        else:
            shown = utc.tz_convert(f"UTC{offset_text(parse_offset(self.written_offset))}")
        ends = [
            "Z" if self.written_offset == "Z" else offset_text(time.utcoffset()) for time in shown
        ]
        return [f"{text}{end}" for text, end in zip(shown.strftime(form), ends, strict=True)]


def offset_text(offset: pd.Timedelta) -> str:
    """An offset from UTC such as `+05:30`."""
    minutes = round(offset / pd.Timedelta(minutes=1))
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def to_clock(
    table: Table,
    times: Times,
    *,
    timezone: str | None,
    utc_offset: str | None,
    clock_offset: str | None = None,
) -> tuple[pd.DatetimeIndex, Clock, list[str]]:
    """Times on one fixed clock, tz-naive, that clock, and notes.

    Times with offsets go to `clock_offset`, or else to the smallest offset among them, which is
    standard time. Times without are those of a clock at `utc_offset`; where that is unknown but
    a `timezone` is given they are its civil times: an hour that is there twice in autumn counts
    as two. Days stay the days that they are, whatever their offset.

    Raises UserError for a zone that is unknown and for civil times that it does not have.
    """
    written = times.written
    if _are_days(times.wall):
        return times.wall, Clock(format=written.format, unit=written.unit), []
    plain = Clock(utc_offset, timezone, format=written.format, unit=written.unit)
    if times.offsets is not None:
        smallest = offset_text(min(times.offsets))
        offset = clock_offset or utc_offset or smallest
        index = times.wall - times.offsets + parse_offset(offset)
        last = "Z" if _writes_z(table, times) else offset_text(times.offsets[-1])
        clock = replace(plain, utc_offset=offset, written_offset=last)
        return index, clock, _offset_notes(times, offset)
    if timezone is None or utc_offset is not None:
        return times.wall, plain, []
    offset = clock_offset or _standard_offset(timezone, times.wall[0])
    index, notes = _from_civil(table, times, timezone, parse_offset(offset))
    return index, replace(plain, utc_offset=offset, local=True), notes


def _are_days(wall: pd.DatetimeIndex) -> bool:
    """Whether times are days, which no clock shifts: midnights, a day or more apart."""
    return len(wall) > 1 and wall.is_unique and bool((wall == wall.normalize()).all())


def _writes_z(table: Table, times: Times) -> bool:
    column = table.cells[times.names[-1]]
    return isinstance(column.iloc[-1], str) and column.iloc[-1].strip()[-1:] in ("Z", "z")


def _offset_notes(times: Times, offset: str) -> list[str]:
    assert times.offsets is not None
    found = sorted(set(times.offsets))
    if len(found) == 1 and found[0] == parse_offset(offset):
        return []
    several = " and ".join(offset_text(one) for one in found[:3])
    return [f"times with the offsets {several} put on one clock at {offset}"]


def _standard_offset(timezone: str, time: pd.Timestamp) -> str:
    moment = time.to_pydatetime().replace(tzinfo=zone_of(timezone))
    total, summer = moment.utcoffset(), moment.dst()
    assert total is not None
    return offset_text(pd.Timedelta(total) - pd.Timedelta(summer or 0))


def _from_civil(
    table: Table, times: Times, timezone: str, offset: pd.Timedelta
) -> tuple[pd.DatetimeIndex, list[str]]:
    """Civil times on a fixed clock; of an hour that is there twice the first is summer time."""
    wall = times.wall
    summer = ~wall.duplicated(keep="first")
    zone = zone_of(timezone)
    try:
        aware = wall.tz_localize(zone, ambiguous=summer, nonexistent="NaT")
    except ValueError as error:
        raise UserError(f"{table.path}: data.timezone={timezone}: {error}") from None
    if aware.hasnans:
        row = int(np.argmax(aware.isna()))
        standard = offset_text(offset)
        raise UserError(
            f"{table.at(row, times.names[0])}: {wall[row]} does not exist in {timezone}, where "
            f"the clocks went forward; if the file's clock does not, set "
            f"data.utc_offset={standard}"
        )
    index = aware.tz_convert("UTC").tz_localize(None) + offset
    twice = wall[wall.duplicated()]
    notes = []
    if len(twice) and _is_ambiguous(twice, zone).all():
        days = ", ".join(dict.fromkeys(f"{time:%Y-%m-%d}" for time in twice))
        notes.append(f"the hour that {timezone} has twice on {days} kept as two")
    return index, notes


def _is_ambiguous(wall: pd.DatetimeIndex, zone: zoneinfo.ZoneInfo) -> np.ndarray:
    marked = wall.tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
    return np.asarray(marked.isna())


def average_repeated_hours(
    frame: pd.DataFrame, index: pd.DatetimeIndex
) -> tuple[pd.DataFrame, pd.DatetimeIndex, list[str]]:
    """Average the rows of an hour that daylight saving gives twice to a clock without zone.

    Only where repeated times look like that: in pairs, within an hour of a night to Sunday.
    """
    twice = index[index.duplicated()]
    if not len(twice) or not _like_autumn(index, twice):
        return frame, index, []
    mean = frame.groupby(index).mean()
    days = ", ".join(dict.fromkeys(f"{time:%Y-%m-%d %H:00}" for time in twice))
    note = (
        f"the hour {days}, there twice as clocks went back, averaged (data.timezone, such as "
        "Europe/Berlin, keeps both)"
    )
    return mean, pd.DatetimeIndex(mean.index), [note]


def _like_autumn(index: pd.DatetimeIndex, twice: pd.DatetimeIndex) -> bool:
    night = ((twice.day_of_week == 6) & (twice.hour <= 3)) | (
        (twice.day_of_week == 5) & (twice.hour == 23)
    )
    spans = pd.Series(twice, twice.normalize()).groupby(level=0).agg(lambda t: t.max() - t.min())
    once = index[~index.duplicated()]
    backward = np.diff(index.to_numpy()) < np.timedelta64(0)
    back_to = index[1:][backward]
    return bool(
        night.all()
        and (spans < HOUR).all()
        and twice.is_unique
        and once.is_monotonic_increasing
        and back_to.isin(twice).all()
    )
