"""Bring a table of times to a regular grid: short gaps are filled, long ones are not hidden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apps.errors import UserError

Gaps = Literal["error", "drop_days"]
SHORT_GAP = pd.Timedelta(hours=3)
WEEK = pd.Timedelta(days=7)


@dataclass(frozen=True)
class Filled:
    """A gapless frame, which rows may be targets (bool per row), and a line on what was done."""

    frame: pd.DataFrame
    observed: NDArray[np.bool_]
    account: str


def fill_gaps(
    table: pd.DataFrame,
    frequency: pd.Timedelta,
    *,
    max_gap: int | None,
    gaps: Gaps,
    where: str,
    known_until: pd.Timestamp | None = None,
) -> Filled:
    """Fill the gaps of `table` (first column `target`; NaN and absent rows are missing).

    Rows before the first and after the last known target are cut off. Up to `max_gap` steps
    (default: three hours, at least one step) are interpolated linearly in time, the same for
    target and covariates. A longer gap is a UserError, or with `gaps="drop_days"` its days
    are marked not observed and their values, which other days still look back on, are those
    of a week before. Rows after `known_until` are the future: nothing there is filled.
    """
    if gaps not in ("error", "drop_days"):
        raise UserError(f"gaps={gaps!r}: allowed are error and drop_days")
    limit = max(1, SHORT_GAP // frequency) if max_gap is None else max_gap
    if limit < 0:
        raise UserError(f"max_gap={limit}: must be 0 or more steps")
    frame = _on_grid(table, frequency, known_until, where)
    missing = frame.isna()
    if known_until is not None:
        future = np.asarray(frame.index > known_until)
        _check_future(frame.loc[future], where)
        missing.loc[future, "target"] = False
    absent = missing.any(axis=1).to_numpy()
    starts, lengths = _runs(absent)
    is_long = lengths > limit
    if is_long.any() and gaps == "error":
        first, steps = starts[is_long][0], lengths[is_long][0]
        column = missing.columns[missing.iloc[first]][0]
        raise UserError(
            f"{where}: {steps} steps of {column!r} are missing from {frame.index[first]} to"
            f" {frame.index[first + steps - 1]}, max_gap is {limit}"
            f" ({is_long.sum()} such gaps); fill them or set gaps=drop_days"
        )
    observed = np.ones(len(frame), dtype=bool)
    for first, steps in zip(starts[is_long], lengths[is_long], strict=True):
        _fill_from_week_before(frame, first, steps, WEEK // frequency)
        days = frame.index[first].floor("D"), frame.index[first + steps - 1].ceil("D")
        observed &= ~np.asarray((frame.index >= days[0]) & (frame.index < days[1]))
    filled = frame.interpolate("linear", limit_direction="both").where(missing, frame)
    return Filled(filled, observed, _account(lengths, is_long, observed, frequency))


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
            " fall on midnight; shift them so that days start at 00:00"
        )
    return table.reindex(pd.date_range(table.index[0], table.index[-1], freq=frequency))


def _check_future(future: pd.DataFrame, where: str) -> None:
    missing = future.drop(columns="target").isna()
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
) -> str:
    if len(lengths) == 0:
        return "no gaps"
    short = lengths[~is_long]
    parts = []
    if len(short):
        parts.append(f"{short.sum()} missing steps in {len(short)} gaps interpolated")
    if is_long.any():
        days = round((~observed).sum() * frequency / pd.Timedelta(days=1))
        parts.append(f"{days} days left out for {is_long.sum()} longer gaps")
    return "; ".join(parts)


def step_name(frequency: pd.Timedelta) -> str:
    """A step in words a user writes: `30 min`, `1 h` or `1 day`."""
    minutes = round(frequency / pd.Timedelta(minutes=1))
    if minutes % 1440 == 0:
        return f"{minutes // 1440} day"
    return f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"
