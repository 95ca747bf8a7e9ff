"""Times as they are written in a column, whatever the order of day and month."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
from pandas.tseries.api import guess_datetime_format

# A UTC offset after a time of the day; alone `-31` would be a day.
_OFFSET = r"^(?P<wall>.*\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?[AaPp][Mm])?|.*[T ]\d\d(?:\d\d){0,2})\s*"
_OFFSET += r"(?P<offset>Z|z|UTC|GMT|[+\-\u2212]\d\d(?::?\d\d)?)$"
_INTERVAL = re.compile(
    r"^(.*\d:\d\d.*?)\s+(?:[-\u2013]|to|bis)\s+\S.*\d:\d\d.*$"
)  # from - to; the start counts
_TIGHT_INTERVAL = re.compile(
    r"(\d:\d\d(?::\d\d)?|[ T]\d\d)\s*[-\u2013]\s*\d\d?(?::\d\d(?::\d\d)?)?$"
)
_YEARS = (1800, 2200)  # `1234 1/4` is no time
# What some programs write, and the same in a form that others have, too.
_PLAINER = [
    (re.compile(found, re.IGNORECASE), plain)
    for found, plain in (
        (r"^(\d\d?)([a-z]{3})(\d{4}|\d\d)(?::(?=\d\d:))?", r"\1-\2-\3 "),  # SAS: 04SEP2023:13:00
        (r"(?<=\s)(\d\d)\.(\d\d)\.(\d\d)(?=\.\d|\s|$)", r"\1:\2:\3"),  # Oracle: 13.00.00
        (r"(?<=[/.\-\d]\d\d),\s+(?=\d)", " "),  # JavaScript: 4/9/2023, 13:00
        (r"^(mon|tues|wednes|thurs|fri|satur|sun)day,?\s+", ""),
        (r"(\d{4})年(\d\d?)月(\d\d?)日", r"\1-\2-\3"),
        (r"(?<=\d)_(?=\d)", " "),
        (r"\s*\b(?:utc|gmt)(?=[+\-]\d)", ""),  # GMT+0100
        (r"(:\d\d[+\-])(\d)$", r"\g<1>0\2"),  # UTC+1
        (r"([+\-]\d\d:?\d\d|\dZ)\s*(?:\[.*\]|\(.*\)|utc|gmt)$", r"\1"),  # +01:00[Europe/Berlin]
    )
]
_FARTHEST = pd.Timedelta(hours=14)  # from UTC that a clock can be
_MIDNIGHT = re.compile(r"(?<!\d)24:00(?::00(?:\.0+)?)?$")
_HALVES = re.compile(r"\s*([ap])\.\s?m\.?$", re.IGNORECASE)
_FRACTION = re.compile(r"(:\d\d),(\d{1,9})$")
_SHORT = r"\d\d([-/])\d\d\1\d\d(?!\d)"
_COMPACT = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_TRIED = 50  # cells that a format is found by
_EPOCHS = (3e8, 4.2e9)  # 1979 to 2103 in seconds
_DATES: dict[bool | None, tuple[str, ...]] = {
    None: ("%y/%m/%d",),
    True: ("%d/%m/%Y", "%d/%m/%y", "%Y/%m/%d"),
    False: ("%m/%d/%Y", "%m/%d/%y", "%Y/%m/%d"),
}
_CLOCKS = (
    "",
    *(
        f"{gap}{clock}"
        for gap in (" ", "T")
        for clock in (
            "%H:%M",
            "%H:%M:%S",
            "%H:%M:%S.%f",
            "%I:%M %p",
            "%I:%M:%S %p",
            "%I:%M:%S.%f %p",
            "%I:%M%p",
            "%I %p",
            "%H.%M",
            "%H",
        )
    ),
)


@dataclass(frozen=True, eq=False)
class Written:
    """A column of times as its own clock shows them.

    wall: tz-naive, NaT where a cell is no time. offsets: of each from UTC, NaT where none is
    written. format: of strftime, to write more like them; None for numbers. unit: of numbers
    since 1970, whose offset is zero. dayfirst: whether the day stands before the month, None
    where that made no difference. ambiguous: whether both orders fit all cells.
    """

    wall: pd.DatetimeIndex
    offsets: pd.TimedeltaIndex
    format: str | None = None
    unit: str | None = None
    dayfirst: bool | None = None
    ambiguous: bool = False


def parse(text: pd.Series, dayfirst: bool | None = None) -> Written:
    """The times of a column of text (N,), missing ones NaT.

    ISO 8601, day or month first with any separator, names of months, 24:00, intervals (their
    start), compact digits, and seconds to nanoseconds since 1970.
    """
    known = text.dropna()
    numeric = pd.to_numeric(known, errors="coerce")
    if len(known) and numeric.notna().all():
        return _from_numbers(text, numeric)
    text = text.str.replace(_INTERVAL, r"\1", regex=True)
    for found, plain in _PLAINER:
        if any(map(found.search, text.dropna().head(_TRIED))):
            text = text.str.replace(found, plain, regex=True)
    text = text.str.strip()
    parts = text.str.extract(_OFFSET)
    offsets = _offsets(parts["offset"])
    if (abs(offsets) > _FARTHEST).any():  # 01:00-02:00 is no offset, where 22:00-23:00 stands, too
        starts = text.str.replace(_TIGHT_INTERVAL, r"\1", regex=True)
        if not starts.equals(text):
            return parse(starts, dayfirst)
        parts["wall"], offsets = text, _offsets(parts["offset"].mask(parts["offset"].notna()))
    wall = parts["wall"].fillna(text).str.strip()
    wall = wall.str.replace(_HALVES, r" \1m", regex=True).str.replace(
        _FRACTION, r"\1.\2", regex=True
    )
    late = wall.str.contains(_MIDNIGHT).fillna(False).to_numpy(bool)
    wall = wall.str.replace(_MIDNIGHT, "00:00", regex=True)
    written = _walls(wall, offsets, dayfirst)
    if not late.any():
        return written
    moved = written.wall + pd.to_timedelta(late.astype(int), unit="D")
    return Written(moved, offsets, written.format, None, written.dayfirst, written.ambiguous)


def _from_numbers(text: pd.Series, numeric: pd.Series) -> Written:
    none = pd.TimedeltaIndex(np.full(len(text), np.timedelta64("NaT", "us")))
    widths = numeric.index.map(lambda label: len(text[label]))
    for width, form in _COMPACT.items():
        if (widths == width).all() and text.dropna().str.match(r"(19|20)\d\d[01]").all():
            wall = pd.to_datetime(text, format=form, errors="coerce")
            if wall.notna().sum() == len(numeric):
                return Written(_index(wall), none, form)
    for unit, factor in _UNITS.items():
        if numeric.between(_EPOCHS[0] * factor, _EPOCHS[1] * factor).all():
            wall = pd.to_datetime(numeric.reindex(text.index), unit=unit, errors="coerce")
            zero = pd.TimedeltaIndex(np.zeros(len(text), "timedelta64[us]"))
            return Written(_index(wall), zero, None, unit)
    return Written(pd.DatetimeIndex(np.full(len(text), np.datetime64("NaT", "us"))), none)


def _offsets(text: pd.Series) -> pd.TimedeltaIndex:
    plain = text.str.replace(":", "").str.replace("\u2212", "-")
    zero = plain.str.fullmatch(r"[Zz]|UTC|GMT").fillna(False)
    plain = plain.mask(zero, "+0000")
    sign = plain.str[0].map({"+": 1.0, "-": -1.0})
    hours, minutes = (pd.to_numeric(plain.str[a:b], errors="coerce") for a, b in ((1, 3), (3, 5)))
    return pd.TimedeltaIndex(pd.to_timedelta(sign * (60 * hours + minutes.fillna(0)), unit="min"))


def _walls(text: pd.Series, offsets: pd.TimedeltaIndex, dayfirst: bool | None) -> Written:
    first = text.dropna().iloc[0] if text.notna().any() else ""
    iso = pd.to_datetime(text, format="ISO8601", errors="coerce")
    if iso.dtype.kind != "M" or iso.dt.tz is not None:  # with an offset that no clock has
        iso = pd.Series(np.datetime64("NaT", "us"), text.index)
    if iso.notna().sum() > 0 and re.match(r"\d{4}", first):
        form = guess_datetime_format(first, dayfirst=False)
        if iso.notna().sum() == text.notna().sum() or not _has_other_form(text[iso.isna()]):
            return Written(_index(iso), offsets, form or "%Y-%m-%d %H:%M:%S")
    if dayfirst is None and re.match(r"\d{1,2}\.\d{1,2}\.\d{2,4}\b", first):
        dayfirst = True  # with points the day stands first everywhere
    orders = [dayfirst] if dayfirst is not None else [True, False]
    read = {order: _in_order(text, order) for order in orders}
    best = max(orders, key=lambda order: int(read[order][0].notna().sum()))
    wall, form = read[best]
    if dayfirst is None and text.dropna().str.match(_SHORT).all():
        first_year, short_form = _in_order(text, None)
        whole = first_year.notna().sum() == text.notna().sum()
        if whole and np.ptp(first_year.dropna()) < np.ptp(wall.dropna()):
            return Written(_index(first_year), offsets, short_form)
    other = read.get(not best)
    whole = wall.notna().sum()
    same = other is not None and other[0].equals(wall)
    rival = other is not None and not same and other[0].notna().sum() == whole
    return Written(_index(wall), offsets, form, None, None if same else best, bool(rival))


def _has_other_form(text: pd.Series) -> bool:
    return bool(text.dropna().str.match(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}").all())


def _in_order(text: pd.Series, dayfirst: bool | None) -> tuple[pd.Series, str | None]:
    """The times with the day first, the month, or (None) a short year; the first cell's format."""
    found = pd.Series(np.datetime64("NaT"), text.index, dtype="datetime64[us]")
    shapes = text.str.replace(r"\d+", "0", regex=True).str.replace(r"[^\W\d_]+", "a", regex=True)
    first: str | None = None
    for _, cells in text.groupby(shapes, sort=False):
        form = _format(cells.iloc[:_TRIED], dayfirst)
        if form is not None:
            times = pd.to_datetime(cells, format=form, errors="coerce")
            found.loc[cells.index] = times.astype(found.dtype)
            first = first or form
    return found, first


def _format(cells: pd.Series, dayfirst: bool | None) -> str | None:
    """The format of some cells of one shape: that which the first of them fits that fits any."""
    if len(re.findall(r"\d", cells.iloc[0])) < 3:
        return None  # no day and year
    mark = re.match(r"\d{1,4}([-/.])\d{1,2}[-/.]\d{1,4}", cells.iloc[0])
    if mark is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a day that cannot stand first
            guessed: str | None = guess_datetime_format(cells.iloc[0], dayfirst=bool(dayfirst))
        if guessed:
            return guessed
        dates: list[str] = [f"%d{gap}%b{gap}{year}" for gap in "- /" for year in ("%y", "%Y")]
        dates += ["%b %d, %Y", "%B %d, %Y", "%d-%B-%Y"]
    else:
        dates = [date.replace("/", mark[1]) for date in _DATES[dayfirst]]
    forms = [date + clock for date in dates for clock in _CLOCKS]
    found, tried = None, list(cells)
    for form in forms:  # strptime keeps few formats: all cells by one, then by the next
        at = next((i for i, cell in enumerate(tried) if _fits(cell, form)), None)
        if at is not None:
            found, tried = form, tried[:at]  # another format must fit an earlier cell
    return found


def _fits(cell: str, form: str) -> bool:
    try:
        datetime.strptime(cell, form)
    except ValueError:
        return False
    return True


def _index(times: pd.Series) -> pd.DatetimeIndex:
    index = pd.DatetimeIndex(times).as_unit("us")
    return index.where((index.year >= _YEARS[0]) & (index.year <= _YEARS[1]))
