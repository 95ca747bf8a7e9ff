"""A regular time series with covariates, and how to read one from a file.

All times are those of one fixed clock, so that every day has the same number of steps;
`timezone` and `utc_offset` tell the civil time, which people's habits follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apps.energy.calendar import DAILY_HORIZON, DAY, detect_frequency, split_days, to_civil
from apps.energy.clock import Clock
from apps.energy.columns import refuse_leaks
from apps.energy.days_off import Dates, of_column, of_country
from apps.energy.gaps import Filled, fill_gaps, has_weekdays_alone
from apps.energy.table import TableOptions, TimeTable, read_table
from apps.errors import UserError
from data_scripts.manifest import DataError, Manifest

Part = Literal["train", "val", "test"]
WEEKDAYS = 5  # days from Monday to Friday


@dataclass(frozen=True, eq=False)
class Series:
    """A target and its covariates at a fixed step, with the borders of its splits.

    frame: columns `target` and the covariates, float64, regular tz-naive DatetimeIndex.
    covariates: names of the columns whose values are known ahead of a forecast.
    past_covariates: names of those whose values are known up to the forecast's origin alone.
    observed: bool per row; False on days that must not serve as a target (long gaps).
    weekdays: whether Saturdays and Sundays have no values of their own.
    days_off: public holidays, which count as Sundays; None where they are not known.
    clock: how the file wrote its times. options: how to read another such file. found: its format.
    frequency: the step. timezone: civil zone of calendar features (None: the clock itself).
    utc_offset: of the clock, such as `+10:00`. account: one line on what reading changed.
    Training ends at `val_start`, validation at `test_start`, the test at `end`; all exclusive.
    """

    frame: pd.DataFrame
    covariates: tuple[str, ...]
    frequency: pd.Timedelta
    val_start: pd.Timestamp
    test_start: pd.Timestamp
    end: pd.Timestamp
    timezone: str | None = None
    utc_offset: str | None = None
    account: str = ""
    observed: NDArray[np.bool_] = field(default_factory=lambda: np.ones(0, dtype=bool))
    past_covariates: tuple[str, ...] = ()
    weekdays: bool = False
    days_off: Dates | None = None
    clock: Clock = field(default_factory=Clock)
    options: TableOptions = field(default_factory=TableOptions)
    found: str = ""

    def __post_init__(self) -> None:
        if self.observed.size == 0:
            object.__setattr__(self, "observed", np.ones(len(self.frame), dtype=bool))
        to_civil(pd.DatetimeIndex(self.frame.index[:1]), self.timezone, self.utc_offset)

    @property
    def steps_per_day(self) -> int:
        """Number of steps in a day: 48 for half-hourly data."""
        return int(DAY // self.frequency)

    @property
    def season_week(self) -> int:
        """Number of steps in a week."""
        return 7 * self.steps_per_day

    @property
    def horizon(self) -> int:
        """The usual forecast horizon in steps: one day, or a week of daily data (or weekdays)."""
        if self.steps_per_day > 1:
            return self.steps_per_day
        return WEEKDAYS if self.weekdays else DAILY_HORIZON

    @property
    def civil(self) -> pd.DatetimeIndex:
        """Civil (wall clock) time of every row, tz-naive."""
        return to_civil(pd.DatetimeIndex(self.frame.index), self.timezone, self.utc_offset)

    def bounds(self, part: Part) -> tuple[pd.Timestamp, pd.Timestamp]:
        """First time of a part and the time just after it."""
        return {
            "train": (pd.Timestamp(self.frame.index[0]), self.val_start),
            "val": (self.val_start, self.test_start),
            "test": (self.test_start, self.end),
        }[part]

    def origins(
        self,
        start: pd.Timestamp,
        end: pd.Timestamp,
        horizon: int | None = None,
        history: int = 0,
    ) -> pd.DatetimeIndex:
        """Midnights from `start` whose next `horizon` steps are observed and end by `end`.

        At least `history` steps lie between the first row and every origin.
        """
        steps = horizon or self.horizon
        first = max(start, self.frame.index[0] + history * self.frequency)
        last = min(end, self.frame.index[-1] + self.frequency) - steps * self.frequency
        days = pd.date_range(first.ceil("D"), last, freq="D")
        at = self.positions(days)[:, None] + np.arange(steps)
        return days[self.observed[at].all(axis=1)]

    def positions(self, times: pd.DatetimeIndex) -> NDArray[np.intp]:
        """Row number of each time (N,); a time just past the last row is allowed."""
        rows: NDArray[np.intp] = np.asarray((times - self.frame.index[0]) // self.frequency)
        return rows


def read_parquet(
    folder: Path,
    target: str | None = None,
    covariates: Sequence[str] | None = None,
    *,
    country: str | None = None,
    workday: str | None = None,
) -> Series:
    """Read a folder prepared by `data_scripts.energy`, with the splits of its manifest.

    `target` and `covariates` (columns known ahead) default to those of the manifest; country and
    workday as in `TableOptions`. Raises UserError when the folder is not prepared or lacks a
    column.
    """
    try:
        manifest = Manifest.read(Path(folder))
        manifest.verify(Path(folder))
    except DataError as error:
        raise UserError(f"{error}; run gradclip-data app=energy") from None
    table = pd.read_parquet(Path(folder) / next(iter(manifest.files))).set_index("timestamp")
    details = manifest.details
    target = target or details["target"]
    names = tuple(details["covariates"] if covariates is None else covariates)
    for name in (target, *names):
        if name not in table.columns:
            raise UserError(f"{folder}: no column {name!r}; there are {', '.join(table)}")
    frame = pd.DataFrame({"target": table[target], **{name: table[name] for name in names}})
    series = Series(
        frame.astype(float),
        names,
        detect_frequency(pd.DatetimeIndex(frame.index), None, str(folder)),
        **{name: pd.Timestamp(time) for name, time in manifest.splits.items()},
        timezone=details["timezone"],
        utc_offset=details["utc_offset"],
        clock=Clock(details["utc_offset"], details["timezone"]),
        options=TableOptions(
            target=target,
            timestamp="timestamp",
            known=names,
            past=(),
            timezone=details["timezone"],
            utc_offset=details["utc_offset"],
            country=country,
            workday=workday,
        ),
    )
    return _with_days_off(series)


def read_file(
    path: Path,
    options: TableOptions | None = None,
    *,
    val_fraction: float = 0.1,
    test_fraction: float = 0.15,
) -> Series:
    """Read a user's table and split it at whole days, the last days being the test.

    Raises UserError, one line, for every flaw of the file, for a covariate that is the target,
    and for too short a series.
    """
    options = options or TableOptions()
    table = read_table(path, options)
    index = pd.DatetimeIndex(table.frame.index)
    step = detect_frequency(index, options.frequency, str(path))
    if table.frame["target"].nunique() == 1:
        name = table.columns.target
        raise UserError(f"{path}: column {name!r} never changes; there is nothing to learn")
    refuse_leaks(table.frame, table.columns, DAY // step, str(path))
    filled = fill_gaps(
        table.frame,
        step,
        max_gap=options.max_gap,
        gaps=options.gaps,
        where=str(path),
        target=table.columns.target,
    )
    times = pd.DatetimeIndex(filled.frame.index)
    borders = split_days(times, step, val_fraction, test_fraction, str(path))
    return _series(table, filled, step, borders)


def read_history(path: Path, options: TableOptions, *, clock_offset: str | None = None) -> Series:
    """Read a table to forecast from: its last rows may have an empty target.

    Those rows are the future, with the covariates known ahead filled in: `test_start` is the
    first of them (the origin of the forecast) and their target stays NaN. clock_offset: the UTC
    offset of the clock of an earlier series. The same flaws raise UserError as in `read_file`.
    """
    table = read_table(path, options, clock_offset=clock_offset)
    step = detect_frequency(pd.DatetimeIndex(table.frame.index), options.frequency, str(path))
    known = table.frame["target"].last_valid_index()
    if known is None:
        raise UserError(
            f"{path}: column {table.columns.target!r} is empty; a forecast needs its past values"
        )
    frame, known = _to_monday(table.frame, pd.Timestamp(known), step)
    filled = fill_gaps(
        frame,
        step,
        max_gap=options.max_gap,
        gaps=options.gaps,
        where=str(path),
        target=table.columns.target,
        known=table.columns.known,
        known_until=known,
    )
    origin = known + step
    borders = (origin, origin, pd.Timestamp(filled.frame.index[-1]) + step)
    return _series(table, filled, step, borders)


def _to_monday(
    frame: pd.DataFrame, known: pd.Timestamp, step: pd.Timedelta
) -> tuple[pd.DataFrame, pd.Timestamp]:
    """A series of weekdays that ends on a Friday, up to Sunday: Monday is the next of its days."""
    if step != DAY or not has_weekdays_alone(pd.DatetimeIndex(frame.index)):
        return frame, known
    end = known + (6 - known.day_of_week) * DAY if known.day_of_week == 4 else known
    index = frame.index.union(pd.date_range(known, end, freq="D"))
    return frame.reindex(index), end


def _series(
    table: TimeTable,
    filled: Filled,
    step: pd.Timedelta,
    borders: tuple[pd.Timestamp, pd.Timestamp, pd.Timestamp],
) -> Series:
    series = Series(
        filled.frame,
        table.columns.known,
        step,
        *borders,
        timezone=table.clock.timezone,
        utc_offset=table.clock.utc_offset,
        account="; ".join([*table.notes, filled.account]),
        observed=filled.observed,
        past_covariates=table.columns.past,
        weekdays=filled.weekdays,
        clock=table.clock,
        options=table.options,
        found=f"{table.found}, {len(table.frame)} rows",
    )
    return _with_days_off(series)


def _with_days_off(series: Series) -> Series:
    """The series with the days off that its options name."""
    country, workday = series.options.country, series.options.workday
    if country is not None and workday is not None:
        raise UserError(f"data.country={country} and data.workday={workday}: name one of them")
    if country is not None:
        years = series.frame.index[[0, -1]].year
        return replace(series, days_off=of_country(country, years[0] - 1, years[1] + 1))
    if workday is None:
        return series
    if workday not in series.covariates:
        raise UserError(
            f"data.workday={workday}: is no covariate that is known ahead; known are"
            f" {', '.join(series.covariates) or 'none'}"
        )
    values = series.frame[workday].to_numpy(np.float64)
    return replace(series, days_off=of_column(workday, values, series.civil))
