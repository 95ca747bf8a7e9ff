"""Trailing recalibration: each quantile moves by its own error over the days before."""

from __future__ import annotations

import numpy as np

from apps.energy.forecast import Forecast


def recalibrate(forecast: Forecast, days: int, least: int = 7) -> Forecast:
    """Shift each quantile by the same quantile of its errors over the last `days` forecasts.

    q <- q + quantile_q({y - q}) over all steps of the forecasts before the origin, so that a
    drift of level or spread is made good with what is known at the origin. Forecasts stand in
    order of time and must not overlap, so that the truth of all before one is known at its
    origin. The first `least` are returned as they are; `days` = 0 changes nothing.

    Raises ValueError for forecasts that overlap.
    """
    if days == 0:
        return forecast
    if (forecast.times[1:, 0] <= forecast.times[:-1, -1]).any():
        raise ValueError("forecasts overlap: the truth of one is not known at the next origin")
    errors = forecast.truth[..., None] - forecast.quantiles
    shifted = forecast.quantiles.copy()
    for number in range(least, len(shifted)):
        recent = errors[max(0, number - days) : number]
        shifted[number] += [
            np.quantile(recent[..., i], level) for i, level in enumerate(forecast.levels)
        ]
    return Forecast(
        forecast.origins,
        forecast.times,
        forecast.truth,
        np.sort(shifted, axis=-1),
        forecast.levels,
    )
