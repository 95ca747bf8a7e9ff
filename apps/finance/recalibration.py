"""Filtered historical simulation: quantiles from a forecast's own standardised errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from apps.finance.distribution import empirical
from apps.finance.forecast import Forecast

LEAST = 250  # forecasts; fewer tell too little of the 1 % quantile


def recalibrate(forecast: Forecast, days: int, least: int = LEAST) -> Forecast:
    """Take quantiles and shortfalls from the standardised errors of the last `days` forecasts.

    z = (return - mean) / sd over the forecasts whose horizon had ended at the origin, for each
    asset by itself; quantile = mean + sd * quantile(z), and the shortfall likewise (Barone-Adesi,
    Giannopoulos and Vosper 1999, "VaR without correlations"). Mean and variance stay. Forecasts
    stand in order of time; those with fewer than `least` before them, and all of them with
    `days` = 0, are returned as they are.
    """
    if days == 0:
        return forecast
    deviation = np.sqrt(forecast.variance)
    errors = (forecast.truth - forecast.mean) / deviation
    known = forecast.dates[forecast.dates.notna()]
    ended = known.searchsorted(forecast.origins, side="right")
    quantiles, shortfall = forecast.quantiles.copy(), forecast.shortfall.copy()
    for number in np.flatnonzero(ended >= least):
        recent = errors[max(0, ended[number] - days) : ended[number]]
        mean, unit = forecast.mean[number, :, None], deviation[number, :, None]
        levels, tails = empirical(recent)
        quantiles[number], shortfall[number] = mean + unit * levels, mean + unit * tails
    return replace(forecast, quantiles=quantiles, shortfall=shortfall)


def average(forecast: Forecast, other: Forecast) -> Forecast:
    """The forecast with the geometric mean of both variances; the shape stays its own.

    Raises ValueError unless both are made from the same days.
    """
    if not forecast.origins.equals(other.origins):
        raise ValueError("forecasts from different days cannot be averaged")
    return forecast.with_variance(np.sqrt(forecast.variance * other.variance))
