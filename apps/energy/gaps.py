"""Bring a table of times to a regular grid: short gaps are filled, long ones are not hidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apps.errors import UserError

Gaps = Literal["error", "drop_days"]
SHORT_GAP = pd.Timedelta(hours=3)
HOUR = pd.Timedelta(hours=1)
DAY = pd.Timedelta(days=1)
WEEK = pd.Timedelta(days=7)


@dataclass(frozen=True)
class Filled:
    """A gapless frame, which rows may be targets (bool per row), and a line on what was done.

    weekdays: whether the series has no weekends.
    """

    frame: pd.DataFrame
    observed: NDArray[np.bool_]
    account: str
    weekdays: bool = False


def fill_gaps(
    table: pd.DataFrame,
    frequency: pd.Timedelta,
    *,
    max_gap: int | None,
    gaps: Gaps,
    where: str,
    target: str = "target",
    known: Sequence[str] | None = None,
    known_until: pd.Timestamp | None = None,
) -> Filled:
    """Fill the gaps of `table` (first column `target`; NaN and absent rows are missing).

    Rows before the first and after the last known target are cut off. Up to `max_gap` steps
    (default: three hours, at least one step) are interpolated linearly in time, the same for
    target and covariates. A longer gap is a UserError, or with `gaps="drop_days"` its days
    are marked not observed and their values, which other days still look back on, are those
    of a week before. Rows after `known_until` are the future: nothing there is filled, and the
    columns of `known` (default: all covariates) must be there. target: what the user calls it.

    Days of a daily series that has none at weekends are filled with the value before and marked
    not observed.
    """
    if gaps not in ("error", "drop_days"):
        raise UserError(f"data.gaps={gaps!r}: allowed are error and drop_days")
    limit = max(1, SHORT_GAP // frequency) if max_gap is None else max_gap
    if limit < 0:
        raise UserError(f"data.max_gap={limit}: must be 0 or more steps")
    frame = _on_grid(table, frequency, known_until, where)
    weekdays = frequency == DAY and has_weekdays_alone(pd.DatetimeIndex(table.dropna().index))
    observed = np.ones(len(frame), dtype=bool)
    if weekdays:
        observed = _fill_weekends(frame, known_until)
    missing = frame.isna()
    if known_until is not None:
        future = np.asarray(frame.index > known_until)
        ahead = list(frame.columns[1:] if known is None else known)
        _check_future(frame.loc[future, ahead], where)
        missing.loc[future] = False
    starts, lengths = _runs(missing.any(axis=1).to_numpy())
    is_long = lengths > limit
    if is_long.any() and gaps == "error":
        _refuse(missing, starts[is_long], lengths[is_long], limit, target, where)
    for first, steps in zip(starts[is_long], lengths[is_long], strict=True):
        _fill_from_week_before(frame, first, steps, WEEK // frequency)
        days = frame.index[first].floor("D"), frame.index[first + steps - 1].ceil("D")
        observed &= ~np.asarray((frame.index >= days[0]) & (frame.index < days[1]))
    filled = frame.interpolate("linear", limit_direction="both").where(missing, frame)
    account = _account(lengths, is_long, observed, frequency, frame.index[starts], weekdays)
    return Filled(filled, observed, account, weekdays)


def _fill_weekends(frame: pd.DataFrame, known_until: pd.Timestamp | None) -> NDArray[np.bool_]:
    """Give weekends the values before, in place; which days (N,) are none.

    Monday's value must not show in them, so they are not interpolated.
    """
    weekday = np.asarray(frame.index.day_of_week < 5)
    weekend = ~weekday & np.asarray(frame.index <= (known_until or frame.index[-1]))
    frame.loc[weekend] = frame.ffill().loc[weekend]
    return weekday


def _refuse(
    missing: pd.DataFrame,
    starts: NDArray[np.intp],
    lengths: NDArray[np.intp],
    limit: int,
    target: str,
    where: str,
) -> None:
    """UserError for gaps that are too long, with what can be done about them."""
    first, steps = starts[0], lengths[0]
    column = missing.columns[missing.iloc[first]][0]
    leave = "" if column == "target" else " or leave the column out (data.known, data.past),"
    column = target if column == "target" else column
    raise UserError(
        f"{where}: {steps} steps of {column!r} are missing from {missing.index[first]} to"
        f" {missing.index[first + steps - 1]}, data.max_gap is {limit}"
        f" ({len(starts)} such gaps);{leave} set data.gaps=drop_days to leave their days out, or"
        f" data.max_gap={lengths.max()} to interpolate them"
    )


def has_weekdays_alone(times: pd.DatetimeIndex) -> bool:
    """Whether days over two weeks or more never fall on a Saturday or Sunday."""
    return len(times) >= 10 and bool((times.day_of_week < 5).all())


def _on_grid(
    table: pd.DataFrame, frequency: pd.Timedelta, known_until: pd.Timestamp | None, where: str
) -> pd.DataFrame:
    first, last = table["target"].first_valid_index(), table["target"].last_valid_index()
    if first is None:
        raise UserError(f"{where}: the target column is empty")
    table = table.loc[first : (last if known_until is None else table.index[-1])]
    offset = np.asarray((table.index - table.index[0]) % frequency != pd.Timedelta(0))
    if offset.any():
        raise UserError(
            f"{where}: {table.index[int(np.argmax(offset))]} is not a whole number of steps of"
            f" {step_name(frequency)} after the first time {table.index[0]}"
        )
    if (table.index[0] - table.index[0].normalize()) % frequency != pd.Timedelta(0):
        raise UserError(
            f"{where}: times such as {table.index[0]} at steps of {step_name(frequency)} never"
            " fall on midnight; shift them so that days start at 00:00 (data.utc_offset=Z where"
            " they have offsets)"
        )
    return table.reindex(pd.date_range(table.index[0], table.index[-1], freq=frequency))


def _check_future(future: pd.DataFrame, where: str) -> None:
    missing = future.isna()
    if missing.to_numpy().any():
        row = int(np.argmax(missing.any(axis=1)))
        column = missing.columns[missing.iloc[row]][0]
        raise UserError(
            f"{where}: {column!r} is missing at {future.index[row]}; a row to be forecast needs"
            " all its covariates"
        )


def _runs(flags: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(int)))
    return edges[::2], edges[1::2] - edges[::2]


def _fill_from_week_before(frame: pd.DataFrame, first: int, steps: int, week: int) -> None:
    """Fill in place, a week at a time, so that a later week rests on the filled one before."""
    end = first + steps
    for row in range(max(first, week), end, week):
        stop = min(row + week, end)
        before = frame.iloc[row - week : stop - week].to_numpy()
        now = frame.iloc[row:stop].to_numpy()
        frame.iloc[row:stop] = np.where(np.isnan(now), before, now)


def _account(
    lengths: NDArray[np.intp],
    is_long: NDArray[np.bool_],
    observed: NDArray[np.bool_],
    frequency: pd.Timedelta,
    starts: pd.DatetimeIndex,
    weekdays: bool,
) -> str:
    parts = []
    if weekdays:
        parts.append("weekends, which have no rows, left out of training and scores")
    short = lengths[~is_long]
    if len(short):
        first = starts[~is_long][0]
        parts.append(
            f"{short.sum()} missing steps in {len(short)} gaps interpolated, the first at {first}"
        )
        skipped = [start for start in starts[lengths * frequency == HOUR] if _like_spring(start)]
        if skipped:
            days = ", ".join(f"{start:%Y-%m-%d}" for start in skipped[:3])
            parts.append(f"among them the hour that daylight saving skips ({days})")
    if is_long.any():
        days_out = round((~observed).sum() * frequency / DAY)
        parts.append(f"{days_out} days left out for {is_long.sum()} longer gaps")
    return "; ".join(parts) or "no gaps"


def _like_spring(time: pd.Timestamp) -> bool:
    """Whether an hour lies where clocks usually go forward: the night to a Sunday."""
    return time.day_of_week == 6 and time.hour <= 3 and time.month in (3, 4, 9, 10)


def step_name(frequency: pd.Timedelta) -> str:
    """A step in words a user writes: `30 min`, `1 h` or `1 day`."""
    minutes = round(frequency / pd.Timedelta(minutes=1))
    if minutes % 1440 == 0:
        return f"{minutes // 1440} day"
    return f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"
