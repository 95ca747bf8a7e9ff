"""What a network sees of a panel: every feature of a day is known when that day has closed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apps.errors import UserError
from apps.finance.har_gjr import Refits, classical_variance
from apps.finance.moving_average import DECAY, LEAST_VARIANCE, base_variance, ewma
from apps.finance.panel import Floats, Panel

Array = NDArray[np.float32]
Inputs = Literal["rich", "returns"]

HISTORY = 64  # days that the averages need


@dataclass(frozen=True, slots=True)
class Features:
    """Which features a network sees, over how many days.

    inputs: `rich`, returns and variances of several speeds relative to their moving average; or
    `returns`, the plain returns in %. lookback: days that the network reads. limit: of a rich
    feature, in standard deviations.
    """

    lookback: int = 40
    inputs: Inputs = "rich"
    limit: float = 6.0

    def __post_init__(self) -> None:
        if self.lookback < 1:
            raise ValueError(f"lookback must be >= 1, got {self.lookback}")
        if not self.limit > 0:
            raise ValueError(f"limit must be > 0, got {self.limit}")
        if self.inputs not in get_args(Inputs):
            raise ValueError(
                f"inputs must be one of {', '.join(get_args(Inputs))}, got {self.inputs!r}"
            )


def compute(panel: Panel, ranges: bool) -> dict[str, Floats]:
    """The rich features by name, each (T, A), not yet scaled.

    A return counts in units of the deviation expected the day before; a variance as the
    logarithm of its ratio to the base variance. Features of ranges only with `ranges`, features
    of the market (the mean over assets) only for several assets.
    """
    returns = pd.DataFrame(panel.returns)
    base = pd.DataFrame(base_variance(panel))
    shock = returns / np.sqrt(base.shift(1))

    def ratio(variance: pd.DataFrame) -> pd.DataFrame:
        return np.log(variance.clip(lower=LEAST_VARIANCE) / base)

    features = {
        "shock": np.arcsinh(shock),
        "shock_size": np.log(0.1 + shock**2),
        "fast": ratio(ewma(returns**2, 0.8)),
        "slow": ratio(ewma(returns**2, 0.99)),
        "downside": ratio(2 * ewma(returns.clip(upper=0) ** 2, DECAY)),
        "week": returns.rolling(5).sum() / np.sqrt(5 * base),
        "month": returns.rolling(22).sum() / np.sqrt(22 * base),
        "level": np.log(base),
    }
    if ranges:
        spread = pd.DataFrame(panel.ranges)
        for days in (1, 5, 22):
            features[f"range_{days}"] = ratio(spread.rolling(days).mean())
    if len(panel.assets) > 1:
        market = shock.mean(axis=1)
        features["market"] = _everywhere(np.arcsinh(market), base)
        features["market_level"] = _everywhere(np.log(base).mean(axis=1), base) - np.log(base)
    return {name: frame.to_numpy(np.float64) for name, frame in features.items()}


def _everywhere(column: pd.Series, like: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(dict.fromkeys(like.columns, column))


@dataclass(frozen=True, slots=True)
class Encoding:
    """Everything needed to turn a panel like the one trained on into inputs.

    names: of the features; center, scale: of each, from the training days. variance: mean
    squared return of the training days, %^2. refits: of the models whose variance the network
    corrects; None: it corrects the moving average.
    """

    features: Features
    horizon: int
    names: tuple[str, ...]
    center: tuple[float, ...]
    scale: tuple[float, ...]
    variance: float
    refits: Refits | None = None

    @property
    def ranges(self) -> bool:
        """Whether highs and lows are needed."""
        return any(name.startswith("range_") for name in self.names)

    @property
    def history(self) -> int:
        """Days of returns before the first forecast."""
        return self.features.lookback + HISTORY

    def base(self, panel: Panel) -> Floats:
        """The variance (T, A) over the horizon after each day that the network corrects, %^2."""
        return _base(panel, self.horizon, self.refits)

    def is_known(self, panel: Panel) -> NDArray[np.bool_]:
        """Whether there is enough history, (T,), to forecast from a day."""
        known = np.asarray(np.isfinite(self.base(panel)).all(axis=1))
        known[: self.history] = False
        return known

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Encoding:
        """The inverse of `to_dict`; UserError for a record that is none."""
        try:
            rest: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in record.items()
                if name not in ("options", "date", "close")  # of the file, beside the encoding
            }
            rest["features"] = Features(**record["features"])
            if record.get("refits") is not None:
                rest["refits"] = Refits(**record["refits"])
            return cls(**rest)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"data.json of the run is not a finance encoding: {error}") from error

    def encode(self, panel: Panel) -> Array:
        """The scaled features (T, A, F); days without enough history hold zeros."""
        if self.features.inputs == "returns":
            stacked = panel.returns[..., None]
        else:
            found = _rich(panel, self.horizon, self.ranges, self.refits)
            stacked = np.stack([found[name] for name in self.names], axis=-1)
        scaled = (stacked - np.asarray(self.center)) / np.asarray(self.scale)
        if self.features.inputs == "rich":
            scaled = scaled.clip(-self.features.limit, self.features.limit)
        encoded: Array = np.nan_to_num(scaled).astype(np.float32)
        return encoded


def _base(panel: Panel, horizon: int, refits: Refits | None) -> Floats:
    if refits is not None:
        return classical_variance(panel, horizon, refits)
    return horizon * base_variance(panel)


def _rich(panel: Panel, horizon: int, ranges: bool, refits: Refits | None) -> dict[str, Floats]:
    """The rich features, and how far the models are from the moving average."""
    found = compute(panel, ranges)
    if refits is not None:
        ratio = _base(panel, horizon, refits) / (horizon * base_variance(panel))
        found["base_ratio"] = np.log(ratio)
    return found


def fit_encoding(
    panel: Panel, features: Features, horizon: int, refits: Refits | None = None
) -> Encoding:
    """Choose the features that the panel allows and fit their scales on its training days."""
    training = np.asarray((panel.dates >= panel.train_start) & (panel.dates < panel.val_start)) & (
        np.arange(len(panel.dates)) >= HISTORY
    )
    returns = panel.returns[training]
    if features.inputs == "returns":
        center, scale, names = np.zeros(1), np.ones(1), ["return"]
    else:
        ranges = bool(np.isfinite(panel.ranges[training]).all())
        found = _rich(panel, horizon, ranges, refits)
        names = list(found)
        rows = np.stack([found[name][training] for name in names], axis=-1)
        rows = rows.reshape(-1, len(names))
        center, scale = np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)
    return Encoding(
        features=features,
        horizon=horizon,
        names=tuple(names),
        center=tuple(center.tolist()),
        scale=tuple(np.where(scale > 0, scale, 1.0).tolist()),
        variance=float((returns**2).mean()),
        refits=refits,
    )
