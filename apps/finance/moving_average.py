"""Moving averages of squared returns: RiskMetrics' variance."""

from __future__ import annotations

import pandas as pd

from apps.finance.panel import Floats, Panel

DECAY = 0.94  # of the variance: RiskMetrics' (J.P. Morgan 1996, section 5.3)
LEAST_VARIANCE = 1e-4  # a day's, %^2, below which a logarithm is not followed


def ewma(values: pd.DataFrame, decay: float) -> pd.DataFrame:
    """Exponentially weighted mean of all rows so far, each counting `decay` times the next."""
    return values.ewm(alpha=1 - decay, adjust=True).mean()


def base_variance(panel: Panel) -> Floats:
    """Moving average (T, A) of squared returns up to each day, %^2, at least 1e-4."""
    squares = pd.DataFrame(panel.returns**2)
    variance: Floats = ewma(squares, DECAY).clip(lower=LEAST_VARIANCE).to_numpy()
    return variance
