"""Forecasts of a return's distribution from many days, with what came true beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apps.finance.panel import Floats, Panel

LEVELS = (0.01, *(round(0.05 * k, 2) for k in range(1, 20)), 0.99)
TAILS = (0.01, 0.05)  # levels of value at risk and expected shortfall


@dataclass(frozen=True, eq=False)
class Forecast:
    """N forecasts for A assets of the return over the days after an origin, all in %.

    origins, dates: (N,) the last known day and the last day of the horizon (NaT in the future).
    truth, realised: (N, A) the return and the sum of squared daily returns, NaN where not known.
    mean, variance: (N, A). quantiles: (N, A, 21) at LEVELS. shortfall: (N, A, 2) mean return
    below the quantiles at TAILS.
    """

    origins: pd.DatetimeIndex
    dates: pd.DatetimeIndex
    assets: tuple[str, ...]
    truth: Floats
    realised: Floats
    mean: Floats
    variance: Floats
    quantiles: Floats
    shortfall: Floats

    def quantile(self, level: float) -> Floats:
        """The forecast (N, A) at one of LEVELS."""
        chosen: Floats = self.quantiles[..., LEVELS.index(level)]
        return chosen

    def select(self, keep: NDArray[Any]) -> Forecast:
        """Some of the N forecasts."""
        own = {name: getattr(self, name)[keep] for name in _ROWS}
        return replace(self, **own)

    def between(self, start: pd.Timestamp, end: pd.Timestamp) -> Forecast:
        """The forecasts whose origin is in [start, end)."""
        return self.select(np.asarray((self.origins >= start) & (self.origins < end)))

    def with_variance(self, variance: Floats) -> Forecast:
        """The same distribution around its mean, stretched to another variance (N, A)."""
        stretch = np.sqrt(variance / self.variance)[..., None]
        mean = self.mean[..., None]
        return replace(
            self,
            variance=variance,
            quantiles=mean + stretch * (self.quantiles - mean),
            shortfall=mean + stretch * (self.shortfall - mean),
        )

    def to_frame(self) -> pd.DataFrame:
        """A long table, one row per origin and asset."""
        count = len(self.assets)
        columns: dict[str, Any] = {
            "origin": self.origins.repeat(count),
            "date": self.dates.repeat(count),
            "asset": np.tile(np.asarray(self.assets, dtype=object), len(self.origins)),
        }
        columns |= {name: getattr(self, name).ravel() for name in _VALUES}
        tables = {"q": (self.quantiles, LEVELS), "es": (self.shortfall, TAILS)}
        for prefix, (values, levels) in tables.items():
            columns |= {f"{prefix}{u:g}": values[..., i].ravel() for i, u in enumerate(levels)}
        return pd.DataFrame(columns)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Forecast:
        """The inverse of `to_frame`."""
        assets = tuple(dict.fromkeys(frame["asset"]))
        shape = (-1, len(assets))
        values = {name: frame[name].to_numpy(float).reshape(shape) for name in _VALUES}
        quantiles = frame[[f"q{u:g}" for u in LEVELS]].to_numpy(float)
        shortfall = frame[[f"es{u:g}" for u in TAILS]].to_numpy(float)
        return cls(
            pd.DatetimeIndex(frame["origin"].iloc[:: len(assets)]),
            pd.DatetimeIndex(frame["date"].iloc[:: len(assets)]),
            assets,
            **values,
            quantiles=quantiles.reshape(*shape, len(LEVELS)),
            shortfall=shortfall.reshape(*shape, len(TAILS)),
        )


def concatenate(forecasts: Sequence[Forecast]) -> Forecast:
    """Forecasts for the same assets, one after the other."""
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(one, name) for one in forecasts]) for name in _ROWS[2:]
    }
    for name in _ROWS[:2]:
        joined[name] = pd.DatetimeIndex(np.concatenate([getattr(one, name) for one in forecasts]))
    return replace(forecasts[0], **joined)


_VALUES = ("truth", "realised", "mean", "variance")
_ROWS = ("origins", "dates", *_VALUES, "quantiles", "shortfall")


def make_forecast(
    panel: Panel,
    rows: NDArray[np.intp],
    horizon: int,
    *,
    mean: Floats,
    variance: Floats,
    quantiles: Floats,
    shortfall: Floats,
) -> Forecast:
    """A forecast from the days `rows` (N,) of a panel, with dates and truth read from it."""
    truth, realised = panel.targets(horizon)
    ends = rows + horizon
    dates = panel.dates.append(pd.DatetimeIndex([pd.NaT]))
    return Forecast(
        panel.dates[rows],
        dates[np.minimum(ends, len(panel.dates))],
        panel.assets,
        truth[rows],
        realised[rows],
        mean,
        variance,
        quantiles,
        shortfall,
    )
