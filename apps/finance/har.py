"""The heterogeneous autoregression of variance (Corsi 2009, J. of Financial Econometrics 7)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression

from apps.finance.panel import Floats

DAYS = (1, 5, 22)
_LEAST = 1e-4


def har(
    returns: Floats, ranges: Floats, first: int, rows: NDArray[np.intp], horizon: int
) -> tuple[Floats, Floats, Floats]:
    """Mean, variance and degrees of freedom (NaN: normal), each (n,), over `horizon` days.

    returns, ranges: (T,) in % and %^2. The logarithm of the mean daily variance of the coming
    days is regressed on those of the last day, week and month, on the days from `first` whose
    horizon had ended by the first of `rows`; daily variances are those of high and low (see
    `Panel.ranges`), or where they are not known the squared five-day mean of absolute returns.
    One factor makes RV / h average 1 on the same days, which minimises QLIKE.
    """
    known = bool(np.isfinite(ranges[first:]).all())
    daily = pd.Series(ranges) if known else pd.Series(np.abs(returns)).rolling(5).mean() ** 2
    past = np.log(
        pd.concat([daily.rolling(days).mean() for days in DAYS], axis=1).clip(lower=_LEAST)
    )
    ahead = np.log(daily.rolling(horizon).mean().shift(-horizon).clip(lower=_LEAST))
    realised = pd.Series(returns**2).rolling(horizon).sum().shift(-horizon)
    days = np.arange(first, rows[0] - horizon + 1)
    days = days[past.iloc[days].notna().all(axis=1)]
    model = LinearRegression().fit(past.iloc[days].to_numpy(), ahead.iloc[days])
    level = np.exp(model.predict(past.iloc[np.concatenate([days, rows])].to_numpy()))
    factor = float((realised.iloc[days].to_numpy() / level[: len(days)]).mean())
    mean = horizon * np.full(len(rows), float(np.nanmean(returns[first : rows[0] + 1])))
    return mean, factor * level[len(days) :], np.full(len(rows), np.nan)
