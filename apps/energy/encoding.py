"""How a series becomes the inputs of a network: features, and scales fitted on training data.

Every row of the `future` table is known at any origin up to `horizon` steps before it: the
calendar, the covariates of that time, and target and covariates one or more days back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apps.energy.calendar import parse_offset
from apps.energy.days_off import weekdays
from apps.energy.series import Series
from apps.errors import UserError

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Features:
    """Which features a network sees.

    lookback_days: days of history that the encoder reads. lags_days: how many days back target
    and covariates are repeated beside each future step. day_harmonics, week_harmonics: pairs of
    sine and cosine of the time of day and of the day of the week.
    """

    lookback_days: int = 1
    lags_days: Sequence[int] = (1, 2, 7, 14)
    day_harmonics: int = 3
    week_harmonics: int = 3

    def fit(self, series: Series, **settings: Any) -> Encoding:
        """See `fit_encoding`."""
        return fit_encoding(series, self, **settings)

    def __post_init__(self) -> None:
        for name in ("lookback_days", "day_harmonics", "week_harmonics"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if not self.lags_days or min(self.lags_days) < 1:
            raise ValueError(f"lags_days must be whole days >= 1, got {list(self.lags_days)}")


@dataclass(frozen=True, slots=True)
class Inputs:
    """A series as scaled arrays: past (N, P), future (N, F), target (N,), all float32.

    `first` is the first row that has enough history to be an origin.
    """

    past: Array
    future: Array
    target: Array
    first: int
    lookback: int
    horizon: int

    def batch(self, origins: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        """Past (B, lookback, P), future (B, horizon, F) and target (B, horizon) of origins (B,)."""
        back = origins[:, None] + np.arange(-self.lookback, 0)
        ahead = origins[:, None] + np.arange(self.horizon)
        return self.past[back], self.future[ahead], self.target[ahead]


@dataclass(frozen=True, slots=True)
class Encoding:
    """Everything needed to turn a series like the one trained on into inputs.

    covariates: those known ahead; past_covariates: the others. center, scale: of the target and
    then each covariate, from the training part; a covariate of zeros and ones keeps its values.
    Times are those of the series; see `Series`.
    """

    kind: ClassVar[type[Any]] = Features

    features: Any  # of that kind
    target: str
    timestamp: str
    covariates: tuple[str, ...]
    frequency: str
    timezone: str | None
    utc_offset: str | None
    horizon: int
    center: tuple[float, ...]
    scale: tuple[float, ...]
    mase_scale: float
    levels: tuple[float, ...]
    past_covariates: tuple[str, ...] = ()

    @property
    def steps_per_day(self) -> int:
        """Number of steps in a day."""
        return int(pd.Timedelta(days=1) // pd.Timedelta(self.frequency))

    @property
    def horizon_days(self) -> int:
        """Days that the horizon reaches into."""
        return -(-self.horizon // self.steps_per_day)

    @property
    def lags_days(self) -> list[int]:
        """The lags that reach behind the horizon; at least one."""
        nearest = self.horizon_days
        return [days for days in sorted(self.features.lags_days) if days >= nearest] or [nearest]

    @property
    def history_days(self) -> int:
        """Days of history that a forecast needs."""
        return max(self.lags_days[-1] + 1, int(self.features.lookback_days))

    @property
    def lookback(self) -> int:
        """Steps of history that the encoder reads."""
        return int(self.features.lookback_days) * self.steps_per_day

    @property
    def widths(self) -> tuple[int, int]:
        """Columns of the past and of the future table."""
        calendar, columns = 2 * len(self._harmonics), len(self.center)
        known = len(self.covariates)
        return columns + calendar, calendar + known + columns * len(self.lags_days)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Encoding:
        """The inverse of `to_dict`; UserError for a record that is none."""
        try:
            features = cls.kind(**record["features"])
            rest: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in record.items()
                if name != "options"  # of the file, beside the encoding
            }
            return cls(**(rest | {"features": features}))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"data.json of the run is not an energy encoding: {error}") from error

    def encode(self, series: Series) -> Inputs:
        """The inputs of a series with the same covariates and step."""
        values = series.frame.to_numpy(np.float64)
        scaled = (values - np.asarray(self.center)) / np.asarray(self.scale)
        calendar = self._calendar(series)
        columns = [calendar, scaled[:, 1 : 1 + len(self.covariates)]]
        nearer = None
        for days in self.lags_days:
            rows = self._lagged_rows(series, days)
            rows = rows if nearer is None else np.where(rows < 0, nearer, rows)
            columns.append(scaled[np.clip(rows, 0, None)])
            nearer = rows
        return Inputs(
            past=np.concatenate([scaled, calendar], axis=1, dtype=np.float32, casting="same_kind"),
            future=np.concatenate(columns, axis=1, dtype=np.float32, casting="same_kind"),
            target=scaled[:, 0].astype(np.float32),
            first=max(self.lookback, (self.lags_days[0] + 1) * self.steps_per_day),
            lookback=self.lookback,
            horizon=self.horizon,
        )

    def unscale(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Scaled target values in the unit of the data."""
        result: NDArray[np.float64] = values.astype(np.float64) * self.scale[0] + self.center[0]
        return result

    def _calendar(self, series: Series) -> NDArray[np.float64]:
        """Sine and cosine columns of the time of day and the day of the week."""
        civil = series.civil
        phases = {
            "day": np.asarray((civil - civil.normalize()) / pd.Timedelta(days=1)),
            "week": np.asarray(weekdays(civil, series.days_off) / 7.0),
        }
        angles = np.stack([2 * np.pi * k * phases[name] for name, k in self._harmonics], axis=1)
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)

    @property
    def _harmonics(self) -> list[tuple[str, int]]:
        """Periods and multiples of the calendar's waves, as many as the steps resolve."""
        limits = {"day": self.steps_per_day // 2, "week": 3}
        wanted = {"day": self.features.day_harmonics, "week": self.features.week_harmonics}
        return [
            (name, k)
            for name, limit in limits.items()
            for k in range(1, min(wanted[name], limit) + 1)
        ]

    def _lagged_rows(self, series: Series, days: int) -> NDArray[np.intp]:
        """Row numbers `days` wall-clock days earlier (N,), never within the horizon.

        The wall clock keeps habits aligned over a change of daylight saving time.
        """
        rows = np.arange(len(series.frame))
        plain = rows - days * self.steps_per_day
        if series.timezone is None:
            return plain
        clock = pd.DatetimeIndex(series.frame.index)
        offset = np.asarray(series.civil - clock - parse_offset("Z"))
        forward = offset - offset[np.clip(plain, 0, None)]
        shift = np.rint(forward / np.timedelta64(pd.Timedelta(self.frequency))).astype(np.intp)
        nearest: NDArray[np.intp] = np.minimum(plain + shift, rows - self.horizon)
        return nearest


def fit_encoding(
    series: Series,
    features: Any,
    *,
    target: str,
    timestamp: str,
    horizon: int,
    levels: Sequence[float],
    mase_scale: float,
) -> Encoding:
    """Fit the scales on the training part of a series."""
    training = series.frame[series.frame.index < series.val_start].to_numpy(np.float64)
    binary = np.isin(training, (0.0, 1.0)).all(axis=0) & (np.arange(training.shape[1]) > 0)
    spread = training.std(axis=0)
    return Encoding(
        features=features,
        target=target,
        timestamp=timestamp,
        covariates=series.covariates,
        frequency=series.frequency.isoformat(),
        timezone=series.timezone,
        utc_offset=series.utc_offset,
        horizon=horizon,
        center=tuple(np.where(binary, 0.0, training.mean(axis=0)).tolist()),
        scale=tuple(np.where(binary | (spread == 0), 1.0, spread).tolist()),
        mase_scale=mase_scale,
        levels=tuple(levels),
        past_covariates=series.past_covariates,
    )
