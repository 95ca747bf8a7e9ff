"""What regressions look at for every step to be forecast: past values, calendar, covariates.

Shapes: N origins, H steps of horizon, F features, P steps of profile. Everything is taken
from rows before the origin, except the covariates of the target steps when they are known
ahead. A lag shorter than the horizon is left out, for it would look past the origin.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apps.energy.calendar import to_civil
from apps.energy.days_off import are_off, weekdays
from apps.energy.forecast import Floats
from apps.energy.series import Series
from apps.errors import UserError

LAG_DAYS = (1, 2, 7, 14)
HISTORY_DAYS = max(LAG_DAYS)
TRAILING_HOURS = (3, 6, 24)

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Features:
    """The inputs of a regression.

    step: (N, H, F), of which the columns `hinged` come from covariates.
    profile: (N, P), the values just before the origin, oldest first.
    weekday: (N, H), 0 = Monday; days off count as Sundays. hour: (N, H), both of the civil clock.
    reference: (N, H), mean of the shortest and the weekly lag: what a model corrects.
    """

    step: Floats
    hinged: tuple[int, ...]
    profile: Floats
    weekday: Rows
    hour: Floats
    reference: Floats


def target_times(series: Series, origins: pd.DatetimeIndex, horizon: int) -> NDArray[np.datetime64]:
    """Times of the steps to be forecast, (N, H)."""
    steps = np.arange(horizon) * series.frequency.to_timedelta64()
    times: NDArray[np.datetime64] = origins.to_numpy()[:, None] + steps
    return times


def target_rows(series: Series, origins: pd.DatetimeIndex, horizon: int) -> Rows:
    """Row numbers of the steps to be forecast, (N, H)."""
    return series.positions(origins)[:, None] + np.arange(horizon)


def last_season(series: Series, origins: pd.DatetimeIndex, horizon: int, days: int = 1) -> Floats:
    """The last `days` days before each origin, repeated over the horizon, (N, H)."""
    season = days * series.steps_per_day
    rows = series.positions(origins)[:, None] - season + np.arange(horizon) % season
    values: Floats = series.frame["target"].to_numpy()[rows]
    return values


def build(
    series: Series,
    origins: pd.DatetimeIndex,
    horizon: int,
    known_ahead: bool,
    more_lags: Sequence[int] = (),
    profile_days: int = 1,
) -> Features:
    """Build the inputs for `origins`; `known_ahead`: with the covariates of the target steps.

    more_lags: days back of the target beside those of LAG_DAYS. profile_days: length of the
    profile (see `profile_steps`). Every origin needs as much history as the longest
    lag, 14 days at least. Raises UserError when the horizon is longer
    than 14 days and when covariates of target steps are absent.
    """
    rows, day = target_rows(series, origins, horizon), series.steps_per_day
    if horizon > HISTORY_DAYS * day:
        raise UserError(f"horizon {horizon}: baselines forecast {HISTORY_DAYS * day} steps at most")
    target = series.frame["target"].to_numpy()
    lags = _lags(rows, day, LAG_DAYS)
    columns = [target[lag] for lag in lags]
    reference = (columns[0] + target[rows - 7 * day * math.ceil(horizon / (7 * day))]) / 2.0
    columns += [target[lag] for lag in _lags(rows, day, more_lags)]
    civil = to_civil(
        pd.DatetimeIndex(target_times(series, origins, horizon).ravel()),
        series.timezone,
        series.utc_offset,
    )
    hour = np.asarray(civil.hour + civil.minute / 60.0).reshape(rows.shape)
    columns += [lag - reference for lag in columns]
    columns += [_spread(level, horizon) for level in _levels(target, rows[:, 0], day)]
    columns.append(_clock_shift(series, civil, origins, horizon))
    given = _covariates(series, rows, lags, known_ahead)
    hinged = range(len(columns), len(columns) + len(given))
    columns += given
    if series.days_off is not None:  # what the lags at the same place were
        off = are_off(series.civil, series.days_off).astype(np.float64)
        columns += [off[lag] for lag in lags[:1] + lags[2:3]]
    return Features(
        np.stack(columns, axis=-1),
        tuple(hinged),
        target[rows[:, :1] - np.arange(profile_steps(day, profile_days), 0, -1)],
        weekdays(civil, series.days_off).reshape(rows.shape),
        hour,
        reference,
    )


def _covariates(series: Series, rows: Rows, lags: list[Rows], known_ahead: bool) -> list[Floats]:
    """The inputs that the covariates give."""
    day, columns = series.steps_per_day, list[Floats]()
    for name in (*series.covariates, *series.past_covariates):
        values = series.frame[name].to_numpy()
        columns += _past_covariate(values, rows, lags, day)
        if known_ahead and name in series.covariates:
            columns += _known_covariate(name, values, rows, lags, day)
    return columns


def profile_steps(day: int, days: int) -> int:
    """Steps of a profile of so many whole days of `day` steps, seven steps at least."""
    return day * max(days, math.ceil(7 / day))


def _lags(rows: Rows, day: int, days: Sequence[int]) -> list[Rows]:
    """Rows of the same slot some days before, those only that lie before the origin."""
    return [rows - back * day for back in days if back * day >= rows.shape[1]]


def _spread(per_origin: Floats, horizon: int) -> Floats:
    return np.broadcast_to(per_origin[:, None], (len(per_origin), horizon))


def _levels(target: Floats, first: Rows, day: int) -> Iterator[Floats]:
    """Level and drift just before the origin, (N,) each."""
    yesterday = target[first[:, None] - np.arange(1, day + 1)].mean(axis=1)
    week_ago = target[first[:, None] - 6 * day - np.arange(1, day + 1)].mean(axis=1)
    yield yesterday
    yield yesterday - week_ago
    yield target[first[:, None] - np.arange(1, 7 * day + 1)].mean(axis=1)
    yield target[first - 1] - target[first - 1 - day]
    yield target[first - 1] - target[first - 1 - 7 * day]


def _clock_shift(
    series: Series, civil: pd.DatetimeIndex, origins: pd.DatetimeIndex, horizon: int
) -> Floats:
    """Hours by which civil time is ahead of the clock: habits move when it changes."""
    ahead = civil - pd.DatetimeIndex(target_times(series, origins, horizon).ravel())
    hours: Floats = np.asarray(ahead / pd.Timedelta(hours=1))
    return hours.reshape(len(origins), horizon)


def _past_covariate(values: Floats, rows: Rows, lags: list[Rows], day: int) -> Iterator[Floats]:
    horizon, first = rows.shape[1], rows[:, 0]
    yield from (values[lag] for lag in lags[:1] + lags[2:3])
    yield _spread(values[first[:, None] - np.arange(1, day + 1)].mean(axis=1), horizon)
    yield _spread(values[first - 1], horizon)


def _known_covariate(
    name: str, values: Floats, rows: Rows, lags: list[Rows], day: int
) -> list[Floats]:
    horizon = rows.shape[1]
    if len(rows) and rows.max() >= len(values):
        raise UserError(f"covariate {name!r} is not known {horizon} steps ahead of every origin")
    now = values[rows]
    columns = [now, *(now - values[lag] for lag in lags[:1] + lags[2:3])]
    columns += [_spread(take(now, axis=1), horizon) for take in (np.mean, np.min, np.max)]
    total = np.cumsum(np.concatenate(([0.0], values)))
    windows = [hours * day // 24 for hours in TRAILING_HOURS]
    columns += [(total[rows + 1] - total[rows + 1 - n]) / n for n in windows if n > 1]
    return columns
