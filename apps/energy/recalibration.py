"""Trailing recalibration: each quantile moves by its own error over the days before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from apps.energy.forecast import Floats, Forecast

LEAST = 7  # forecasts
NEAR, NEAR_STEPS = np.timedelta64(5, "h"), 5


def recalibrate(forecast: Forecast, days: int, least: int = LEAST) -> Forecast:
    """Shift each quantile by the same quantile of its errors over the last `days` forecasts.

    q <- q + quantile_q({y - q}) over the steps within five hours, or five steps, of the same
    place in the horizon, in the forecasts that ended before the origin: a drift of level or
    spread is made good with what is known at the origin. Forecasts stand in order of time. Those
    with fewer than `least` before them are returned as they are; `days` = 0 changes nothing, nor
    is there anything to mend in a forecast that is not finite.
    """
    if days == 0 or not np.isfinite(forecast.quantiles).all():
        return forecast
    errors = forecast.truth[..., None] - forecast.quantiles
    shifted = forecast.quantiles.copy()
    lead = forecast.times[:1] - forecast.times[:1, :1]
    reach = max(NEAR, NEAR_STEPS * lead[0, 1]) if lead.size > 1 else NEAR
    # Forecasts over several days overlap: the latest have not ended at the next origin.
    ended = np.searchsorted(forecast.times[:, -1], forecast.times[:, 0])
    used = np.where(ended < least, 0, np.minimum(ended, days))
    for count in np.unique(used[used > 0]):
        numbers = np.flatnonzero(used == count)
        recent = errors[ended[numbers, None] - np.arange(count, 0, -1)]
        for step, away in enumerate(lead[0]):
            near = recent[:, :, np.abs(lead[0] - away) <= reach].reshape(
                len(numbers), -1, len(forecast.levels)
            )
            shifted[numbers, step] += _own_quantiles(near, forecast.levels)
    return Forecast(
        forecast.origins,
        forecast.times,
        forecast.truth,
        np.sort(shifted, axis=-1),
        forecast.levels,
    )


def _own_quantiles(errors: Floats, levels: Sequence[float]) -> Floats:
    """The quantile of errors (N, n, Q) at the level of each column, (N, Q)."""
    columns = [np.quantile(errors[..., i], level, axis=1) for i, level in enumerate(levels)]
    return np.stack(columns, axis=-1)
