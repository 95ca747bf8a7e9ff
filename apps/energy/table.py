"""Read a user's table of times and numbers: what it says is taken, what is unclear is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from apps.energy.calendar import zone_of
from apps.energy.clock import Clock, average_repeated_hours, to_clock
from apps.energy.columns import Columns, choose_columns
from apps.errors import UserError
from apps.tables.numbers import read_numbers
from apps.tables.order import check_order, choose_entity, oldest_first
from apps.tables.read import read_table as read_cells
from apps.tables.reading import Reading
from apps.tables.table import Table
from apps.tables.time_columns import find_times
from apps.tables.times import Times, read_times


@dataclass(frozen=True, slots=True)
class TableOptions:
    """What a user says about a table; None leaves it to the table.

    target: the column to forecast (None: the only one of numbers). timestamp: the column of
    times, or those of date and hour. known, past: covariates known ahead of a forecast ("all":
    all others), and of the past alone (None: all others). id, id_column: the entity to take
    where there are several. timezone: civil zone. utc_offset: of the clock of times without one.
    frequency: the step. max_gap: longest run of missing steps that is interpolated linearly
    (None: three hours, at least one step); a value so filled rests on the one after the gap.
    gaps: what a longer run does: error, or drop_days (see `fill_gaps`). sort: sort rows by time.
    country: whose public holidays count as Sundays. workday: the covariate known ahead that is 1
    on working days and 0 on days off, which tells them, too. reading: of the file.
    """

    target: str | None = None
    timestamp: str | Sequence[str] | None = None
    known: Sequence[str] | Literal["all"] | None = None
    past: Sequence[str] | None = None
    id: str | None = None
    id_column: str | None = None
    timezone: str | None = None
    utc_offset: str | None = None
    frequency: str | None = None
    max_gap: int | None = None
    gaps: Literal["error", "drop_days"] = "error"
    sort: bool = False
    country: str | None = None
    workday: str | None = None
    reading: Reading = field(default_factory=Reading)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> TableOptions:
        """The inverse of `to_dict`."""
        return cls(**(record | {"reading": Reading(**record["reading"])}))


@dataclass(frozen=True, eq=False)
class TimeTable:
    """A table read: what `TableOptions` left open is decided in `options`.

    frame: float64 columns `target` and the covariates, known ones first; strictly increasing
    tz-naive index on the fixed `clock`. found: the file's format. notes: what reading changed.
    """

    frame: pd.DataFrame
    columns: Columns
    clock: Clock
    options: TableOptions
    found: str
    notes: tuple[str, ...]


def read_table(path: Path, options: TableOptions, *, clock_offset: str | None = None) -> TimeTable:
    """Read a file or folder of times and numbers onto one fixed clock.

    clock_offset: the UTC offset of that clock where the times carry theirs, or are civil ones.
    Empty cells become NaN; true and false become 1 and 0.

    Raises UserError naming column and row for what does not fit, and the option that mends it.
    """
    cells = read_cells(path, options.reading).without_blank_rows()
    if options.timezone is not None:
        zone_of(options.timezone)  # refused here if it is unknown
    given = options.timestamp
    names = find_times(cells) if given is None else [given] if isinstance(given, str) else given
    times = read_times(cells, names, options.timezone)
    cells, times = choose_entity(cells, times, options.target, options.id, options.id_column)
    cells, times = oldest_first(cells, times, sort=options.sort)
    columns = choose_columns(cells, names, options.target, _known(options), options.past)
    _check_names(cells, columns)
    index, clock, clock_notes = to_clock(
        cells,
        times,
        timezone=options.timezone,
        utc_offset=options.utc_offset,
        clock_offset=clock_offset,
    )
    frame, number_notes, decimal = _numbers(cells, columns)
    if clock.local and times.wall.is_monotonic_increasing:  # the two autumn hours may alternate
        order = np.argsort(index.to_numpy(), kind="stable")
        frame, index = frame.iloc[order], index[order]
    if clock.written_offset is None and not clock.local:
        frame, index, averaged = average_repeated_hours(frame, index)
        clock_notes += averaged
    if not clock_notes or len(index) == len(cells):
        check_order(cells, times.names[0], index, _CURE)
    notes = (*cells.notes, *times.notes, *clock_notes, *number_notes, *columns.notes)
    decided = _decided(options, columns, times, decimal)
    frame.index = index.as_unit("us").rename(None)
    return TimeTable(frame, columns, clock, decided, cells.found, notes)


_CURE = (
    "take one of the rows out, or where daylight saving repeats an hour set data.timezone, such as "
    "Europe/Berlin"
)


def _known(options: TableOptions) -> Sequence[str] | Literal["all"] | None:
    """The covariates known ahead that are named, and the column of working days."""
    known, workday = options.known, options.workday
    if workday is None or known == "all" or (known is not None and workday in known):
        return known
    return [*(known or ()), workday]


def _check_names(table: Table, columns: Columns) -> None:
    if "target" in columns.covariates:
        raise UserError(f"{table.path}: only the target may be called 'target'; rename that column")


def _numbers(table: Table, columns: Columns) -> tuple[pd.DataFrame, list[str], str | None]:
    """The target and the covariates as numbers, notes on them, and their decimal sign."""
    found = {name: read_numbers(table, name) for name in (columns.target, *columns.covariates)}
    values = {name: numbers.values for name, numbers in found.items()}
    values = {"target": values.pop(columns.target)} | values
    notes = [note for numbers in found.values() for note in numbers.notes]
    decimals = {numbers.decimal for numbers in found.values() if numbers.decimal is not None}
    return pd.DataFrame(values), notes, decimals.pop() if len(decimals) == 1 else None


def _decided(
    options: TableOptions, columns: Columns, times: Times, decimal: str | None
) -> TableOptions:
    """The options with what this table decided, so that the next one is read in the same way."""
    return replace(
        options,
        target=columns.target,
        timestamp=list(times.names),
        known=list(columns.known),
        past=list(columns.past),
        reading=options.reading.seen(decimal, times.written.dayfirst),
    )
