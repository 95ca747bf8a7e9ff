"""Scores of a quantile forecast, from scikit-learn and utilsforecast."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from sklearn.metrics import (
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_pinball_loss,
    root_mean_squared_error,
)
from utilsforecast import losses

from apps.energy.forecast import Floats, Forecast
from apps.energy.series import Series

METRICS = ("mae", "rmse", "mape", "wape", "mase", "pinball", "wql", "coverage_80")


def evaluate(
    forecast: Forecast, mase_scale: float, interval: tuple[float, float] = (0.1, 0.9)
) -> dict[str, float]:
    """Score a forecast over all its origins and steps.

    mae, rmse: of the median, in the unit of the data.
    mape: mean |error| / |truth|, in %; NaN when a true value is zero (write it as null).
    wape: sum |error| / sum |truth|, in %; NaN when the truth is all zero.
    mase: mae / `mase_scale` (Hyndman and Koehler 2006; see `mase_scale`).
    pinball: quantile loss, mean over the levels.
    wql: 100 * 2 * sum(quantile loss) / sum |truth|, in %, mean over the levels, as in
        GluonTS (`mean_wQuantileLoss`); NaN when the truth is all zero.
    coverage_80: share of true values inside `interval`, bounds included, in %; the name
        follows the nominal share (`coverage_90` for (0.05, 0.95)).

    A forecast with a value that is not finite scores NaN everywhere: scikit-learn refuses
    such values and utilsforecast would leave them out of its means. Raises ValueError for an
    unknown true value, for no forecasts at all, and for an interval or median whose levels
    are not among those of the forecast.
    """
    truth = forecast.truth.ravel()
    if truth.size == 0 or not np.isfinite(truth).all():
        raise ValueError("only forecasts with a known, finite truth can be scored")
    percent = round(100 * (interval[1] - interval[0]))
    names = (*METRICS[:-1], f"coverage_{percent}")
    if not np.isfinite(forecast.quantiles).all():
        return dict.fromkeys(names, math.nan)
    median = forecast.median.ravel()
    mae = float(mean_absolute_error(truth, median))
    mape = float(mean_absolute_percentage_error(truth, median)) if truth.all() else math.nan
    table, columns = _long_table(forecast, interval, percent)
    quantile_losses = [
        mean_pinball_loss(truth, table[column], alpha=level)
        for level, column in zip(forecast.levels, columns, strict=True)
    ]
    wape = float(losses.wape(table, ["median"])["median"].iloc[0])
    wql = losses.scaled_crps(table, {"wql": columns}, np.asarray(forecast.levels))["wql"].iloc[0]
    coverage = losses.coverage(table, ["interval"], percent)["interval"].iloc[0]
    scores = (
        mae,
        float(root_mean_squared_error(truth, median)),
        100.0 * mape,
        100.0 * wape,
        mae / mase_scale if mase_scale > 0.0 else math.nan,
        float(np.mean(quantile_losses)),
        100.0 * float(wql) if truth.any() else math.nan,
        100.0 * float(coverage),
    )
    return dict(zip(names, scores, strict=True))


def _long_table(
    forecast: Forecast, interval: tuple[float, float], percent: int
) -> tuple[pd.DataFrame, list[str]]:
    """The columns utilsforecast expects, and the names of the quantile columns."""
    table = forecast.to_frame().rename(columns={"truth": "y"}).assign(unique_id=0)
    low, high = (forecast.quantile(level).ravel() for level in interval)
    bounds = {f"interval-lo-{percent}": low, f"interval-hi-{percent}": high}
    columns = [f"q{level:g}" for level in forecast.levels]
    return table.assign(median=forecast.median.ravel(), **bounds), columns


def mase_scale(series: Series, until: pd.Timestamp | None = None) -> float:
    """Mean |y(t) - y(t - week)| over the observed rows before `until`, in the data's unit.

    The denominator of MASE with a weekly season (Hyndman and Koehler 2006, "Another look at
    measures of forecast accuracy"), by default over the training part. ValueError when that
    is no longer than a week.
    """
    known = np.asarray(series.frame.index < (until or series.val_start)) & series.observed
    target: Floats = series.frame["target"].to_numpy()
    week = series.season_week
    errors = np.abs(target[week:] - target[:-week])[known[week:] & known[:-week]]
    if errors.size == 0:
        raise ValueError("no two observed rows a week apart: MASE has no scale")
    return float(errors.mean())
