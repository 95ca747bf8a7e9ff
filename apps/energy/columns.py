"""Which columns of a user's table are what: the target, known ahead of it, or of the past alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apps.errors import UserError
from apps.tables.numbers import looks_numeric
from apps.tables.table import Table

# A column that explains so much of the target, in its levels and in its steps, is the target.
COPY = 0.999
COPIED_STEPS = 0.9
_TIMES_OF_A_DAY = (24, 25, 48, 50, 96, 100)  # with those of the day that is longer
MANY = 20  # columns that are not named are no covariates where there are more of them


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the target and of the covariates by role, and notes on those left out."""

    target: str
    known: tuple[str, ...]
    past: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def covariates(self) -> tuple[str, ...]:
        """Those known ahead and then those of the past alone."""
        return (*self.known, *self.past)


def choose_columns(
    table: Table,
    times: Sequence[str],
    target: str | None,
    known: Sequence[str] | Literal["all"] | None,
    past: Sequence[str] | None,
) -> Columns:
    """The target and the covariates that are named, or as they can be told from the table.

    Without a target the only column of numbers is it. Columns that are not named are covariates
    of the past alone where they hold numbers that do not merely count the rows, up to `MANY`;
    with known="all" they are known ahead.

    Raises UserError for columns that are missing or named twice, and where the target cannot be
    told.
    """
    given = [] if known is None or known == "all" else list(known)
    wanted = [*times, *([] if target is None else [target]), *given, *(past or ())]
    table.require(wanted)
    if len(set(wanted)) < len(wanted):
        raise UserError(f"{table.path}: a column is named twice among {', '.join(wanted)}")
    others = [name for name in table.names if name not in wanted]
    counters = [name for name in others if _counts_rows(table, name)]
    others = [name for name in others if name not in counters]
    numeric = [name for name in others if looks_numeric(table, name)]
    if target is None:
        target = _only(table, numeric or others[: len(others) == 1])
        numeric = [name for name in numeric if name != target]
    left_out = [name for name in others if name not in (target, *numeric)]
    notes = [
        *([f"{', '.join(counters)} left out: it counts the rows"] if counters else []),
        *([f"{', '.join(left_out)} left out: no numbers"] if left_out else []),
    ]
    if known == "all":
        return Columns(target, (*numeric,), (*(past or ()),), tuple(notes))
    if past is not None:
        return Columns(target, (*given,), (*past,), tuple(notes))
    if len(numeric) > MANY:
        notes.append(
            f"{len(numeric)} other columns of numbers left out; name covariates: data.past"
        )
        numeric = []
    elif numeric:
        notes.append(
            f"{', '.join(numeric)} used up to the forecast's origin alone; if known ahead: "
            f"data.known=[{','.join(numeric)}]"
        )
    return Columns(target, (*given,), (*numeric,), tuple(notes))


def _only(table: Table, numeric: Sequence[str]) -> str:
    if len(numeric) == 1:
        return numeric[0]
    if not numeric:
        raise UserError(
            f"{table.path}: no column of numbers to forecast; there are {', '.join(table.names)}"
        )
    wide = "; if they are the hours of a day, write them below each other" * (
        len(numeric) in _TIMES_OF_A_DAY
    )
    raise UserError(
        f"{table.path}: several columns of numbers ({', '.join(numeric)}); name the one to "
        f"forecast, such as data.target={numeric[0]}{wide}"
    )


def _counts_rows(table: Table, name: str) -> bool:
    """Whether an unnamed column, or one called index or row, has a number for each row."""
    if not name.startswith("Unnamed: ") and name.lower() not in ("index", "row", "row_id", "rowid"):
        return False
    values = pd.to_numeric(table.cells[name], errors="coerce").to_numpy(np.float64)
    return len(values) > 1 and bool((np.abs(np.diff(values)) == 1).mean() > 0.9)


def refuse_leaks(frame: pd.DataFrame, columns: Columns, steps: int, where: str) -> None:
    """UserError for a covariate that is the target, or nearly, or the target of a near step.

    frame: the target and then the covariates. steps: how far ahead one known then would tell.
    """
    target = frame.iloc[:, 0].to_numpy(np.float64)
    for number, name in enumerate(columns.covariates, 1):
        values = frame.iloc[:, number].to_numpy(np.float64)
        shift = _shift(target, values, steps if name in columns.known else 0)
        if shift is None:
            continue
        what = "" if shift == 0 else f" {abs(shift)} steps {'later' if shift > 0 else 'before'}"
        left = [other for other in columns.covariates if other != name]
        key = "known" if name in columns.known else "past"
        left = [other for other in left if other in getattr(columns, key)]
        raise UserError(
            f"{where}: column {name!r} is the target {columns.target!r}{what}, or nearly: it "
            f"would tell what is to be forecast; leave it out: data.{key}=[{','.join(left)}]"
        )


def _shift(target: NDArray[np.float64], values: NDArray[np.float64], steps: int) -> int | None:
    """By how many steps a covariate is ahead of the target that it copies; None if it is none."""
    if (
        _explained(target, values) > COPY
        and _explained(np.diff(target), np.diff(values)) > COPIED_STEPS
    ):
        return 0
    for shift in range(1, steps):
        for ahead in (shift, -shift):
            one, other = (
                (target[ahead:], values[:-ahead])
                if ahead > 0
                else (target[:ahead], values[-ahead:])
            )
            both = np.isfinite(one) & np.isfinite(other)
            if (
                both.sum() > 2 * steps
                and np.ptp(one[both]) > 0
                and (one[both] == other[both]).mean() > 0.99
            ):
                return ahead
    return None


def _explained(target: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Share of the target's variance that a straight line through the other explains."""
    both = np.isfinite(target) & np.isfinite(values)
    one, other = target[both], values[both]
    if both.sum() < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1] ** 2)
