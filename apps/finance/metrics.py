"""Scores of a forecast of returns, as a risk desk reads them."""

from __future__ import annotations

import math

import numpy as np
from sklearn.metrics import mean_absolute_error, mean_pinball_loss, mean_squared_error
from statsmodels.stats.proportion import proportion_confint

from apps.finance.backtests import (
    Hits,
    christoffersen,
    diebold_mariano,
    fissler_ziegel,
    kupiec,
    qlike,
)
from apps.finance.distribution import log_density
from apps.finance.forecast import LEVELS, TAILS, Forecast
from apps.report.model.results import Metric

METRICS = (
    Metric("qlike", "QLIKE", "", "min", 3),
    Metric("mse", "MSE of variance", "", "min", 1),
    Metric("mae", "MAE of variance", "", "min", 3),
    Metric("log_score", "log score", "", "min", 4),
    Metric("crps", "CRPS", "%", "min", 4),
    Metric("pinball_1", "Pinball 1 %", "%", "min", 4),
    Metric("pinball_5", "Pinball 5 %", "%", "min", 4),
    Metric("fz_1", "FZ 1 %", "", "min", 3),
    Metric("fz_5", "FZ 5 %", "", "min", 3),
    Metric("hits_1", "VaR 1 % broken", "%", "target", 2, 1.0),
    Metric("kupiec_1", "Kupiec p 1 %", "", "max", 2),
    Metric("christoffersen_1", "Christoffersen p 1 %", "", "max", 2),
    Metric("hits_5", "VaR 5 % broken", "%", "target", 2, 5.0),
    Metric("kupiec_5", "Kupiec p 5 %", "", "max", 2),
    Metric("christoffersen_5", "Christoffersen p 5 %", "", "max", 2),
    Metric("passing", "assets passing", "%", "max", 0),
    Metric("fz_1_raw", "raw FZ 1 %", "", "min", 3),
    Metric("log_score_raw", "raw log score", "", "min", 4),
    Metric("hits_1_raw", "raw VaR 1 % broken", "%", "target", 2, 1.0),
    Metric("direction", "right direction", "%", "max", 1),
    Metric("direction_margin", "its 95 % margin", "%", "min", 1),
    Metric("return_r2", "R2 of return", "%", "max", 2),
    Metric("return_dm", "DM p against random walk", "", "min", 2),
)


def evaluate(forecast: Forecast, horizon: int) -> dict[str, float]:
    """Score a forecast over its days and assets, all in % and %^2.

    qlike: log h + RV / h with RV the sum of squared daily returns of the horizon. mse, mae: of
    h against RV. log_score: minus the log density of the return (see `log_density`). crps:
    twice the integral of the pinball loss over the 21 levels, trapezoidal
    (Gneiting and Ranjan 2011). pinball, fz, hits, kupiec, christoffersen: of the VaR (and the
    shortfall) at 1 % and 5 %; p-values are medians over assets. passing: share of assets that
    pass both tests at both levels at 5 %. direction: share of days whose return has the sign
    of the forecast mean, with half its 95 % Wilson interval. return_r2: 1 - MSE / MSE of a
    random walk (no change), and its Diebold-Mariano p-value.

    With a horizon of several days, tests and intervals take every such day, since hits of
    overlapping horizons depend on each other. A forecast with a value that is not finite, or a
    variance that is not above 0, scores NaN everywhere. Raises ValueError for unknown truth.
    """
    if forecast.truth.size == 0 or not np.isfinite(forecast.truth).all():
        raise ValueError("only forecasts with a known, finite truth can be scored")
    values = (forecast.mean, forecast.variance, forecast.quantiles, forecast.shortfall)
    if not all(np.isfinite(part).all() for part in values) or (forecast.variance <= 0).any():
        return dict.fromkeys(
            (metric.name for metric in METRICS if metric.name[-4:] != "_raw"), math.nan
        )
    realised, variance = forecast.realised.ravel(), forecast.variance.ravel()
    scores = {
        "qlike": float(qlike(variance, realised).mean()),
        "mse": float(mean_squared_error(realised, variance)),
        "mae": float(mean_absolute_error(realised, variance)),
        "log_score": _log_score(forecast),
        "crps": _crps(forecast),
    }
    passing = np.ones(len(forecast.assets), dtype=bool)
    for number, level in enumerate(TAILS):
        found, passed = _risk(forecast, number, level, horizon)
        scores |= {f"{name}_{round(100 * level)}": value for name, value in found.items()}
        passing &= passed
    return scores | {"passing": 100.0 * float(passing.mean())} | _returns(forecast, horizon)


def _log_score(forecast: Forecast) -> float:
    spread = (forecast.variance, forecast.quantiles, forecast.shortfall)
    return -float(log_density(forecast.truth, *spread).mean())


def _crps(forecast: Forecast) -> float:
    truth = forecast.truth.ravel()
    losses = [
        mean_pinball_loss(truth, forecast.quantiles[..., i].ravel(), alpha=level)
        for i, level in enumerate(LEVELS)
    ]
    return 2.0 * float(np.trapezoid([0.0, *losses, 0.0], [0.0, *LEVELS, 1.0]))


def _risk(
    forecast: Forecast, number: int, level: float, horizon: int
) -> tuple[dict[str, float], Hits]:
    """Scores of VaR and shortfall at one level, and which assets pass both tests."""
    var, shortfall = forecast.quantile(level), forecast.shortfall[..., number]
    hits = forecast.truth <= var
    apart = hits[::horizon].T
    coverage = np.array([kupiec(one, level) for one in apart])
    clusters = np.array([christoffersen(one, level) for one in apart])
    found = {
        "pinball": mean_pinball_loss(forecast.truth.ravel(), var.ravel(), alpha=level),
        "fz": fissler_ziegel(forecast.truth, var, shortfall, level).mean(),
        "hits": 100.0 * hits.mean(),
        "kupiec": np.median(coverage),
        "christoffersen": np.median(clusters),
    }
    return {name: float(value) for name, value in found.items()}, (coverage > 0.05) & (
        clusters > 0.05
    )


def _returns(forecast: Forecast, horizon: int) -> dict[str, float]:
    """How well the forecast mean tells the return, against a random walk."""
    ours = ((forecast.truth - forecast.mean) ** 2).mean(axis=1)
    walk = (forecast.truth**2).mean(axis=1)
    told = {
        "return_r2": 100.0 * float(1.0 - ours.mean() / walk.mean()),
        "return_dm": diebold_mariano(ours, walk, horizon)[2],
    }
    moved = forecast.truth != 0
    if not forecast.mean.any():  # says nothing about direction
        return {"direction": math.nan, "direction_margin": math.nan, **told}
    right = (np.sign(forecast.mean) == np.sign(forecast.truth))[moved]
    apart = ((np.sign(forecast.mean) == np.sign(forecast.truth)) & moved)[::horizon]
    low, high = proportion_confint(int(apart.sum()), int(moved[::horizon].sum()), method="wilson")
    return {
        "direction": 100.0 * float(right.mean()),
        "direction_margin": 50.0 * float(high - low),
        **told,
    }
