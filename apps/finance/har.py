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
    returns: Floats,
    ranges: Floats,
    first: int,
    rows: NDArray[np.intp],
    horizon: int,
    known: int | None = None,
) -> tuple[Floats, Floats, Floats]:
    """Mean, variance and degrees of freedom (NaN: normal), each (n,), over `horizon` days.

    returns, ranges: (T,) in % and %^2. The logarithm of the mean daily variance of the coming
    days is regressed on those of the last day, week and month, on the days from `first` whose
    horizon had ended by row `known` (None: the first of `rows`); daily variances are those of high
    and low (see `Panel.ranges`). Where they are not known, absolute returns are regressed in their
    place, as they are, and the prediction (at least a tenth of their mean) is squared.
    One factor makes RV / h average 1 on the same days, which minimises QLIKE.
    """
    last = int(rows[0]) if known is None else known
    has_ranges = bool(np.isfinite(ranges[first:]).all())
    daily = pd.Series(ranges if has_ranges else np.abs(returns))
    past = pd.concat([daily.rolling(days).mean() for days in DAYS], axis=1)
    ahead = daily.rolling(horizon).mean().shift(-horizon)
    if has_ranges:
        past, ahead = np.log(past.clip(lower=_LEAST)), np.log(ahead.clip(lower=_LEAST))
    realised = pd.Series(returns**2).rolling(horizon).sum().shift(-horizon)
    days = np.arange(first, last - horizon + 1)
    days = days[past.iloc[days].notna().all(axis=1)]
    model = LinearRegression().fit(past.iloc[days].to_numpy(), ahead.iloc[days])
    predicted = model.predict(past.iloc[np.concatenate([days, rows])].to_numpy())
    least = 0.1 * float(ahead.iloc[days].mean())
    level = np.exp(predicted) if has_ranges else np.maximum(predicted, least) ** 2
    factor = float((realised.iloc[days].to_numpy() / level[: len(days)]).mean())
    mean = horizon * np.full(len(rows), float(np.nanmean(returns[first : last + 1])))
    return mean, factor * level[len(days) :], np.full(len(rows), np.nan)
