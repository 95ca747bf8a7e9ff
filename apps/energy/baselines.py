"""Baselines: seasonal naive, ridge regression on lags, gradient-boosted trees.

A baseline forecasts one value per step, which is its median; the other quantiles lie around it
as its errors lay around theirs, slot by slot, on days it was not fitted on: those left out one at
a time (ridge) or a week in five (trees), so that every season seen counts; the naive ones, which
fit nothing, from all days. Regressions are fitted to the logarithm where `Logarithm` finds one,
as the network is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from apps.energy.calendar import DAY
from apps.energy.forecast import LEVELS, Floats, Forecast, check_levels, concatenate
from apps.energy.logarithm import UNCHANGED, Logarithm, training_targets
from apps.energy.regression_features import (
    HISTORY_DAYS,
    build,
    last_season,
    target_rows,
    target_times,
)
from apps.energy.regressions import BoostedTrees, Model, Ridge
from apps.energy.series import Series
from apps.errors import UserError

LEAST_DAYS = 8


@dataclass(frozen=True)
class Baseline:
    """A fitted baseline: `predict` maps (series, origins) to (N, H); errors are (n, H).

    Both are of the target as `logarithm` changes it.
    """

    predict: Callable[[Series, pd.DatetimeIndex], Floats]
    errors: Floats
    logarithm: Logarithm = UNCHANGED

    def forecast(
        self, series: Series, origins: pd.DatetimeIndex, levels: Sequence[float] = LEVELS
    ) -> Forecast:
        """Forecast from each origin; the truth is NaN where the series does not reach.

        Raises UserError for an origin without 14 known days before it.
        """
        check_levels(levels)
        _check_origins(series, origins)
        horizon = self.errors.shape[1]
        point = self.predict(self.logarithm.apply(series), origins)
        errors = self.errors - np.median(self.errors, axis=0)
        spread = np.quantile(errors, levels, axis=0).T
        rows = target_rows(series, origins, horizon)
        target = np.append(series.frame["target"].to_numpy(), np.nan)
        return Forecast(
            origins,
            target_times(series, origins, horizon),
            target[np.minimum(rows, len(target) - 1)],
            self.logarithm.inverse(point[..., None] + spread),
            tuple(levels),
        )


def fit_seasonal_naive(series: Series, until: pd.Timestamp, horizon: int, days: int) -> Baseline:
    """The last season of `days` days before the origin, repeated over the horizon."""

    def predict(series: Series, origins: pd.DatetimeIndex) -> Floats:
        return last_season(series, origins, horizon, days)

    origins = _fit_origins(series, until, horizon)
    return Baseline(predict, _truth(series, origins, horizon) - predict(series, origins))


def fit_regression(
    series: Series,
    until: pd.Timestamp,
    horizon: int,
    model: Callable[[], Model],
    known_ahead: bool,
) -> Baseline:
    """A regression on `build`'s features, with or without the target steps' covariates."""
    logarithm = Logarithm.fit(training_targets(series))
    origins = _fit_origins(series, until, horizon)
    regressed = logarithm.apply(series)
    features = build(regressed, origins, horizon, known_ahead)
    fitted = model().fit(features, _truth(regressed, origins, horizon))

    def predict(series: Series, origins: pd.DatetimeIndex) -> Floats:
        return fitted.predict(build(series, origins, horizon, known_ahead))

    return Baseline(predict, fitted.errors, logarithm)


BASELINES: dict[str, Callable[[Series, pd.Timestamp, int], Baseline]] = {
    "seasonal_naive_day": partial(fit_seasonal_naive, days=1),
    "seasonal_naive_week": partial(fit_seasonal_naive, days=7),
    "ridge_no_covariates": partial(fit_regression, model=Ridge, known_ahead=False),
    "ridge": partial(fit_regression, model=Ridge, known_ahead=True),
    "hgb_no_covariates": partial(fit_regression, model=BoostedTrees, known_ahead=False),
    "hgb": partial(fit_regression, model=BoostedTrees, known_ahead=True),
}


def fit(
    name: str, series: Series, until: pd.Timestamp | None = None, horizon: int | None = None
) -> Baseline:
    """Fit one of BASELINES on the days that end by `until` (default: the training part).

    Raises UserError for an unknown name and when there are too few days to learn from.
    """
    if name not in BASELINES:
        raise UserError(f"baseline {name!r} is unknown; known are {', '.join(BASELINES)}")
    return BASELINES[name](series, until or series.val_start, horizon or series.horizon)


def forecast_baselines(
    series: Series, levels: Sequence[float] = LEVELS, horizon: int | None = None
) -> Iterator[tuple[str, Forecast]]:
    """Forecast every validation and test day with every baseline, one after the other.

    The validation days come from a fit on training, the test days from a fit on training and
    validation; `Forecast.between` tells them apart. Without covariates the pairs with and
    without them are the same, and only `ridge` and `hgb` are given. Raises UserError when
    there are too few days.
    """
    steps = horizon or series.horizon
    for name in BASELINES:
        if name.endswith("_no_covariates") and not series.covariates:
            continue
        parts = []
        for start, end in (series.bounds("val"), series.bounds("test")):
            fitted = fit(name, series, start, steps)
            parts.append(fitted.forecast(series, series.origins(start, end, steps), levels))
        yield name, concatenate(parts)


def _check_origins(series: Series, origins: pd.DatetimeIndex) -> None:
    known = series.frame.index[series.frame["target"].notna()]
    first = known[0] + HISTORY_DAYS * DAY
    for origin in origins[(origins < first) | (origins > known[-1] + series.frequency)]:
        raise UserError(
            f"origin {origin}: baselines need {HISTORY_DAYS} days before it, and the target is"
            f" known from {known[0]} to {known[-1]}"
        )


def _fit_origins(series: Series, until: pd.Timestamp, horizon: int) -> pd.DatetimeIndex:
    first = pd.Timestamp(series.frame.index[0])
    history = HISTORY_DAYS * series.steps_per_day
    origins = series.origins(first, until, horizon, history)
    if len(origins) < LEAST_DAYS:
        raise UserError(
            f"{len(origins)} days to fit a baseline on before {until}; it needs"
            f" {LEAST_DAYS}, each with {HISTORY_DAYS} days before it"
        )
    return origins


def _truth(series: Series, origins: pd.DatetimeIndex, horizon: int) -> Floats:
    truth: Floats = series.frame["target"].to_numpy()[target_rows(series, origins, horizon)]
    return truth
