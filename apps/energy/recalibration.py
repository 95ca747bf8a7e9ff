"""Trailing recalibration: each quantile moves by its own error over the days before."""

from __future__ import annotations

import numpy as np

from apps.energy.forecast import Forecast

LEAST = 7  # forecasts
NEAR = np.timedelta64(5, "h")


def recalibrate(forecast: Forecast, days: int, least: int = LEAST) -> Forecast:
    """Shift each quantile by the same quantile of its errors over the last `days` forecasts.

    q <- q + quantile_q({y - q}) over the steps within five hours of the same place in the
    horizon, in the forecasts that ended before the origin: a drift of level or spread is made
    good with what is known at the origin. Forecasts stand in order of time. Those with fewer
    than `least` before them are returned as they are; `days` = 0 changes nothing.
    """
    if days == 0:
        return forecast
    errors = forecast.truth[..., None] - forecast.quantiles
    shifted = forecast.quantiles.copy()
    lead = forecast.times - forecast.times[:, :1]
    # Forecasts over several days overlap: the latest have not ended at the next origin.
    ended = np.searchsorted(forecast.times[:, -1], forecast.times[:, 0])
    for number in np.flatnonzero(ended >= least):
        recent = errors[max(0, ended[number] - days) : ended[number]]
        for step, away in enumerate(lead[number]):
            near = recent[:, np.abs(lead[number] - away) <= NEAR].reshape(-1, len(forecast.levels))
            shifted[number, step] += np.diagonal(np.quantile(near, forecast.levels, axis=0))
    return Forecast(
        forecast.origins,
        forecast.times,
        forecast.truth,
        np.sort(shifted, axis=-1),
        forecast.levels,
    )
