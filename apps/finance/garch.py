"""GARCH models of one asset, fitted and forecast by the package `arch`."""

from __future__ import annotations

import warnings
from typing import Any, Literal, get_args

import numpy as np
from arch import arch_model
from numpy.typing import NDArray

from apps.finance.panel import Floats

Kind = Literal["garch", "gjr_garch_t", "egarch_t"]

_MODELS: dict[str, dict[str, Any]] = {
    "garch": {"vol": "GARCH", "p": 1, "o": 0, "q": 1, "dist": "normal"},
    "gjr_garch_t": {"vol": "GARCH", "p": 1, "o": 1, "q": 1, "dist": "t"},
    "egarch_t": {"vol": "EGARCH", "p": 1, "o": 1, "q": 1, "dist": "t"},
}
SIMULATIONS = 500  # of EGARCH over several days, which has no closed form


def garch(
    returns: Floats,
    ranges: Floats,
    first: int,
    rows: NDArray[np.intp],
    horizon: int,
    kind: Kind = "garch",
    known: int | None = None,
) -> tuple[Floats, Floats, Floats]:
    """Mean, variance and degrees of freedom (n,) of the return over `horizon` days.

    returns: (T,) in %; those from `first` to row `known` (None: the first of `rows`) are fitted
    by maximum likelihood, and with these parameters the days after each of `rows` are forecast.
    The variance of several days is the sum of theirs; the shape of one day's distribution is kept.
    Degrees of freedom are NaN for a normal distribution. ranges are not used. Raises ValueError
    for an unknown kind.
    """
    if kind not in _MODELS:
        raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, got {kind!r}")
    last = int(rows[0]) if known is None else known
    series = returns[first : rows[-1] + 1]
    model = arch_model(series, mean="Constant", rescale=False, **_MODELS[kind])
    model.distribution = type(model.distribution)(seed=0)  # simulations draw from it
    with warnings.catch_warnings():
        # A fit that has not converged is a baseline's weakness, and its score says so.
        warnings.simplefilter("ignore")
        fitted = model.fit(last_obs=last - first + 1, disp="off", show_warning=False)
        simulated = kind == "egarch_t" and horizon > 1
        found = fitted.forecast(
            horizon=horizon,
            start=int(rows[0]) - first,
            reindex=False,
            method="simulation" if simulated else "analytic",
            simulations=SIMULATIONS,
        )
    at = rows - rows[0]
    mean, variance = (values.to_numpy().sum(axis=1)[at] for values in (found.mean, found.variance))
    return mean, variance, np.full(len(rows), float(fitted.params.get("nu", np.nan)))
