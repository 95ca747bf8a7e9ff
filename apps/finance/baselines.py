"""Baselines: moving averages of squares, past returns as they are, GARCH models, HAR.

Each is fitted for every asset by itself on all days from the start of training to the first day
of a block, forecasts the block, and is fitted anew for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apps.errors import UserError
from apps.finance import distribution
from apps.finance.forecast import Forecast, make_forecast
from apps.finance.garch import garch
from apps.finance.har import har
from apps.finance.har_gjr import LEAST_FITTED
from apps.finance.moving_average import base_variance
from apps.finance.panel import Floats, Panel

Rows = NDArray[np.intp]

WINDOW = 250  # days of historical simulation


@dataclass(frozen=True)
class Plan:
    """Which days are forecast by which fit.

    first: the row at which fitting starts. blocks: (n,) rows each; the fit for a block knows the
    days up to its first row.
    """

    first: int
    blocks: tuple[Rows, ...]
    horizon: int

    @property
    def rows(self) -> Rows:
        """All days that are forecast."""
        return np.concatenate(self.blocks)


def make_plan(panel: Panel, rows: Rows, horizon: int, starts: Sequence[int]) -> Plan:
    """Cut the days `rows` (N,) into blocks; all but the first begin with one of the rows `starts`.

    Raises UserError when too few days lie before the first of them.
    """
    first = max(1, int(panel.dates.searchsorted(panel.train_start)))
    if rows[0] - first < LEAST_FITTED:
        raise UserError(
            f"{rows[0] - first} days to fit a baseline on before {panel.dates[rows[0]]:%Y-%m-%d}; "
            f"at least {LEAST_FITTED} are needed"
        )
    cuts = np.searchsorted(rows, starts)
    return Plan(first, tuple(b for b in np.split(rows, cuts) if len(b)), horizon)


def anniversaries(panel: Panel, rows: Rows, years: int) -> Sequence[int]:
    """The first of the days `rows` in every span of `years` after their first; none for 0."""
    if years == 0:
        return []
    start, end = panel.dates[rows[0]], panel.dates[rows[-1]]
    borders = pd.date_range(start, end, freq=pd.DateOffset(years=years))[1:]
    found: list[int] = panel.dates.searchsorted(borders).tolist()
    return found


def risk_metrics(panel: Panel, plan: Plan) -> Forecast:
    """EWMA of squared returns with decay 0.94, normal, no mean (J.P. Morgan 1996)."""
    variance = plan.horizon * base_variance(panel)[plan.rows]
    mean = np.zeros_like(variance)
    return _forecast(panel, plan, mean, variance, *distribution.normal(mean, variance))


def historical_simulation(panel: Panel, plan: Plan) -> Forecast:
    """The distribution of the returns over the horizon that ended in the last 250 days."""
    ended = pd.DataFrame(panel.returns).rolling(plan.horizon).sum().to_numpy()
    samples = [ended[max(plan.horizon, row - WINDOW + 1) : row + 1] for row in plan.rows]
    mean, variance = (
        np.stack([f(sample, axis=0) for sample in samples]) for f in (np.mean, np.var)
    )
    parts = [distribution.empirical(sample) for sample in samples]
    quantiles, shortfall = (np.stack(values) for values in zip(*parts, strict=True))
    return _forecast(panel, plan, mean, variance, quantiles, shortfall)


def _by_asset(
    fit: Callable[[Floats, Floats, int, Rows, int], tuple[Floats, Floats, Floats]],
    panel: Panel,
    plan: Plan,
) -> Forecast:
    """Fit each asset and block: mean (n,), variance (n,) and degrees of freedom (n,)."""
    parts = [
        [
            fit(panel.returns[:, asset], panel.ranges[:, asset], plan.first, block, plan.horizon)
            for block in plan.blocks
        ]
        for asset in range(len(panel.assets))
    ]
    mean, variance, freedom = (
        np.stack([np.concatenate([block[i] for block in asset]) for asset in parts], axis=-1)
        for i in range(3)
    )
    heavy = np.isfinite(freedom).all()
    spread = (
        distribution.student(mean, variance, freedom)
        if heavy
        else distribution.normal(mean, variance)
    )
    return _forecast(panel, plan, mean, variance, *spread)


def _forecast(
    panel: Panel, plan: Plan, mean: Floats, variance: Floats, quantiles: Floats, shortfall: Floats
) -> Forecast:
    return make_forecast(
        panel,
        plan.rows,
        plan.horizon,
        mean=mean,
        variance=variance,
        quantiles=quantiles,
        shortfall=shortfall,
    )


BASELINES: dict[str, Callable[[Panel, Plan], Forecast]] = {
    "riskmetrics": risk_metrics,
    "historical_simulation": historical_simulation,
    "garch": partial(_by_asset, partial(garch, kind="garch")),
    "gjr_garch_t": partial(_by_asset, partial(garch, kind="gjr_garch_t")),
    "egarch_t": partial(_by_asset, partial(garch, kind="egarch_t")),
    "har": partial(_by_asset, har),
}


def forecast_baselines(panel: Panel, plan: Plan) -> Iterator[tuple[str, Forecast]]:
    """Forecast the days of a plan with every baseline, one after the other."""
    for name, baseline in BASELINES.items():
        yield name, baseline(panel, plan)
