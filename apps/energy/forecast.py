"""Quantile forecasts from many origins, with the truth beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
Floats = NDArray[np.float64]


@dataclass(eq=False)
class Forecast:
    """N forecasts of H steps at Q quantile levels.

    origins: (N,) first time forecast. times: (N, H) datetime64. truth: (N, H), NaN where not
    yet known. quantiles: (N, H, Q) in the order of `levels`, which increase within (0, 1).
    Raises ValueError when the shapes or levels do not fit together.
    """

    origins: pd.DatetimeIndex
    times: NDArray[np.datetime64]
    truth: Floats
    quantiles: Floats
    levels: tuple[float, ...]

    def __post_init__(self) -> None:
        shape = (len(self.origins), *self.times.shape[1:])
        shapes = (self.times.shape, self.truth.shape, self.quantiles.shape)
        if shapes != (shape, shape, (*shape, len(self.levels))) or len(shape) != 2:
            raise ValueError(
                f"times, truth and quantiles have shapes {shapes} for {len(self.origins)}"
                f" origins and {len(self.levels)} levels"
            )
        check_levels(self.levels)

    @property
    def median(self) -> Floats:
        """The forecast at level 0.5, (N, H); ValueError when that level is not there."""
        return self.quantile(0.5)

    def quantile(self, level: float) -> Floats:
        """The forecast at one of the levels, (N, H); ValueError when it is not there."""
        distances = np.abs(np.asarray(self.levels) - level)
        if distances.min() > 1e-9:
            raise ValueError(f"level {level:g} is not among {self.levels}")
        chosen: Floats = self.quantiles[:, :, int(distances.argmin())]
        return chosen

    def between(self, start: pd.Timestamp, end: pd.Timestamp) -> Forecast:
        """The forecasts whose origin is in [start, end)."""
        keep = np.asarray((self.origins >= start) & (self.origins < end))
        return Forecast(
            self.origins[keep],
            self.times[keep],
            self.truth[keep],
            self.quantiles[keep],
            self.levels,
        )

    def to_frame(self) -> pd.DataFrame:
        """A long table, one row per forecast step: origin, timestamp, truth, q0.1 ... q0.9."""
        num_origins, horizon = self.truth.shape
        flat = self.quantiles.reshape(num_origins * horizon, len(self.levels))
        return pd.DataFrame(
            {
                "origin": self.origins.repeat(horizon),
                "timestamp": self.times.ravel(),
                "truth": self.truth.ravel(),
                **{f"q{level:g}": flat[:, i] for i, level in enumerate(self.levels)},
            }
        )

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Forecast:
        """The inverse of `to_frame`; every origin must have the same number of rows.

        Rows of one origin stand together in the order of time. ValueError otherwise.
        """
        columns = [name for name in frame.columns if name.startswith("q")]
        starts, sizes = np.unique(frame["origin"].to_numpy(), return_counts=True)
        if len(set(sizes.tolist())) != 1:
            raise ValueError("the origins have different numbers of rows, or there are none")
        shape = (len(starts), int(sizes[0]))
        origins = frame["origin"].to_numpy().reshape(shape)
        if (origins != origins[:, :1]).any():
            raise ValueError("the rows of one origin must stand together")
        return cls(
            pd.DatetimeIndex(origins[:, 0]),
            frame["timestamp"].to_numpy().reshape(shape),
            frame["truth"].to_numpy(float).reshape(shape),
            frame[columns].to_numpy(float).reshape(*shape, len(columns)),
            tuple(float(name[1:]) for name in columns),
        )


def concatenate(forecasts: Sequence[Forecast]) -> Forecast:
    """Join forecasts of one horizon along their origins; ValueError when levels differ."""
    if len({forecast.levels for forecast in forecasts}) != 1:
        raise ValueError("forecasts of different quantile levels, or none, cannot be joined")
    return Forecast(
        pd.DatetimeIndex(np.concatenate([f.origins.to_numpy() for f in forecasts])),
        np.concatenate([f.times for f in forecasts]),
        np.concatenate([f.truth for f in forecasts]),
        np.concatenate([f.quantiles for f in forecasts]),
        forecasts[0].levels,
    )


def check_levels(levels: Sequence[float]) -> None:
    """ValueError unless quantile levels increase strictly within (0, 1)."""
    bounds = np.array([0.0, *levels, 1.0])
    if len(levels) == 0 or (np.diff(bounds) <= 0).any():
        raise ValueError(f"levels {tuple(levels)} must increase within (0, 1)")
