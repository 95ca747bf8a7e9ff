"""Which columns of a table hold the times of its rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from textwrap import shorten

import pandas as pd

from apps.errors import UserError
from apps.tables.table import Table
from apps.tables.written_times import parse

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
_MINUTES = frozenset(["minute", "minutes", "min"])
_CALENDAR = ("year", "month", "day")
_OF_THE_DAY = re.compile(r"\d\d?:\d\d(:\d\d(\.\d+)?)?( ?[AaPp]\.?[Mm]\.?)?(\s*[-\u2013].*)?")
_SAMPLE = 40  # rows by which a column of times is known


def find_times(table: Table) -> list[str]:
    """The column of times, or those of the date and of the hour, or of year, month, day and hour.

    Beside hours there may be minutes. A column of a usual name comes first, then the first one
    that holds dates, those that say UTC before others. UserError where there is none.
    """
    dated = [name for name in table.names if holds_dates(table, name)]
    dated = [name for name in dated if _sample(table, name).nunique() > 1] or dated
    usual = [name for name in table.names if _plain(name) in (*_FIRST, "date", "time")]
    hours = _hours(table, dated)
    by_name = {_plain(name): name for name in reversed(table.names)}
    if not dated and all(name in by_name for name in _CALENDAR):
        return [*(by_name[name] for name in _CALENDAR), *hours]
    if not dated and len(table.names) > 1:
        usual = usual or [name for name in table.names if _resembles_dates(table, name)]
    if not dated and usual:
        return usual[:1]  # whose first cell will be named
    if not dated:
        cure = "name it with data.timestamp=COLUMN"
        if len(table.names) == 1:
            cure = "if they are several, name what separates them, such as data.sep=blank"
        raise UserError(
            f"{table.path}: no column of times such as 2024-01-31 13:30; there are "
            f"{shorten(', '.join(table.names), 500, placeholder=' ...')}; {cure}{table.sheet_cure}"
        )
    name = min(dated, key=_rank)
    if hours and _is_date(table, name) and _tells_apart(table, name, hours[0]):
        return [name, *hours]
    if _is_date(table, name):
        name = min(dated, key=lambda other: (_is_date(table, other), _rank(other)))
    return [name]


def _hours(table: Table, dated: Sequence[str]) -> list[str]:
    """The column of hours, and that of minutes beside one of numbers, or of times of the day."""
    others = [name for name in table.names if name not in dated]
    hours = [name for name in others if _plain(name) in _HOURS]
    hours += [name for name in others if _all_match(table, name, _OF_THE_DAY)]
    hours += [name for name in others if "hour" in _plain(name) and _counts(table, name)]
    minutes = [name for name in others if _plain(name) in _MINUTES and _counts(table, name)]
    return [*hours[:1], *(minutes[:1] if hours and _counts(table, hours[0]) else [])]


def _all_match(table: Table, name: str, pattern: re.Pattern[str]) -> bool:
    sample = _sample(table, name)
    return len(sample) > 0 and bool(
        sample.map(lambda cell: pattern.fullmatch(cell) is not None).all()
    )


def _counts(table: Table, name: str) -> bool:
    return _all_match(table, name, re.compile(r"\d{1,4}(\.0+)?"))


def _resembles_dates(table: Table, name: str) -> bool:
    """Whether cells may be times in a form that is not known, so that the first will be named."""
    if pd.api.types.is_numeric_dtype(table.cells[name].dtype):
        return False
    sample = _sample(table, name)
    words = pd.to_numeric(sample, errors="coerce").isna() & (sample.str.count(r"\d") >= 6)
    return bool(words.mean() > 0.5) and sample.nunique() > len(sample) / 2


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _tells_apart(table: Table, date: str, hour: str) -> bool:
    """Whether a column named for hours, or else one that differs within most days, is the hour."""
    head = table.cells.loc[:, [date, hour]].head(_SAMPLE).astype(str)
    return _plain(hour) in _HOURS or len(head.drop_duplicates()) > 1.5 * head[date].nunique()


def _rank(name: str) -> tuple[int, bool]:
    plain = _plain(name)
    place = _FIRST.index(plain) if plain in _FIRST else len(_FIRST)
    return place, not ("utc" in plain or "gmt" in plain)


def _sample(table: Table, name: str) -> pd.Series:
    """The first cells as text; none of a column of lists or objects."""
    if isinstance(table.cells[name].iloc[0], list | dict):
        return pd.Series(dtype=str)
    head = replace(table, cells=table.cells.loc[:, [name]].head(_SAMPLE))
    return head.text(name).dropna()


def holds_dates(table: Table, name: str) -> bool:
    """Whether most cells of a column are times."""
    column = table.cells[name]
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return True
    if pd.api.types.is_float_dtype(column.dtype):
        return False
    sample = _sample(table, name)
    return len(sample) > 0 and bool(parse(sample).wall.notna().mean() > 0.5)


def _is_date(table: Table, name: str) -> bool:
    """Whether a column of times holds days alone, each several times."""
    sample = _sample(table, name)
    wall = parse(sample).wall
    return bool((wall == wall.normalize()).all()) and bool(wall.has_duplicates or len(wall) < 2)
