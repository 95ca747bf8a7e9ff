"""The variance that a network may start from: of HAR, GJR-GARCH-t and a moving average."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pandas as pd

from apps.errors import UserError
from apps.finance.combination import combine
from apps.finance.garch import garch
from apps.finance.har import DAYS, har
from apps.finance.moving_average import LEAST_VARIANCE, base_variance
from apps.finance.panel import Floats, Panel

LEAST_FITTED = 300  # days to fit a classical model on


@dataclass(frozen=True, slots=True)
class Refits:
    """When both models are fitted: on the days before `val_start`, and later anew.

    train_start, val_start, test_start: dates such as 2005-01-01. years: between the later fits,
    one of which falls on `test_start`; 0: there are none. combined: their variances and that of a
    moving average are combined as `combine` does; else the start is the mean of the two.
    """

    train_start: str
    val_start: str
    test_start: str
    years: int
    combined: bool = False  # as in the runs of before there was a choice

    def starts(self, panel: Panel, first: int) -> list[int]:
        """The last rows that the fits to a panel's days from row `first` know, in order.

        In a file that has too few days before them all, the one fit knows its last day.
        """
        last = len(panel.dates) - 1
        known = {int(row) - 1 for row in panel.dates.searchsorted(self._days(panel.dates[-1]))}
        usable = sorted(row for row in known if first + LEAST_FITTED <= row < last)
        return usable or [last]

    def _days(self, end: pd.Timestamp) -> list[pd.Timestamp]:
        """The first days that the fits do not know, from `val_start` to `end`."""
        first, day = pd.Timestamp(self.val_start), pd.Timestamp(self.test_start)
        if self.years == 0:
            return [first]
        reach = range(-(day.year - first.year), max(0, end.year - day.year) + 1)
        days = [day + pd.DateOffset(years=k) for k in reach if k % self.years == 0]
        return [first, *(d for d in days if first < d <= end)]


@lru_cache(maxsize=8)
def classical_variance(panel: Panel, horizon: int, refits: Refits) -> Floats:
    """Variance (T, A) over the horizon after each day, %^2, that a network starts from.

    NaN on the first days, of which HAR's averages know too little. Days up to the first fit's last
    are forecast by that fit, which knows what followed them; later days know the past alone.

    Raises UserError for a panel with too few days to fit the models on.
    """
    fitted = np.maximum(_both(panel, horizon, refits), horizon * LEAST_VARIANCE)
    if not refits.combined:
        mean: Floats = fitted.mean(axis=0)
        return mean
    moving = horizon * base_variance(panel)
    return combine(np.stack([*fitted, moving]), panel.targets(horizon)[1], horizon)


def _both(panel: Panel, horizon: int, refits: Refits) -> Floats:
    """The variances (2, T, A) of HAR and GJR-GARCH-t."""
    first = _first_fitted(panel, refits)
    starts = refits.starts(panel, first)
    edges = [first + max(DAYS), *starts[1:], len(panel.dates)]
    variances = np.full((2, *panel.returns.shape), np.nan)
    for known, (begin, end) in zip(starts, pairwise(edges), strict=True):
        rows = np.arange(begin, end)
        for asset, (returns, ranges) in enumerate(
            zip(panel.returns.T, panel.ranges.T, strict=True)
        ):
            past = returns, ranges, first, rows, horizon
            variances[0, rows, asset] = har(*past, known=known)[1]
            variances[1, rows, asset] = garch(*past, kind="gjr_garch_t", known=known)[1]
    return variances


def _first_fitted(panel: Panel, refits: Refits) -> int:
    """The row at which fitting starts; UserError where too few days follow."""
    count = len(panel.dates)
    first = max(1, int(panel.dates.searchsorted(pd.Timestamp(refits.train_start))))
    if count <= first + LEAST_FITTED:  # a file that ends before what the run was trained on
        first = 1
    if count <= first + LEAST_FITTED:
        raise UserError(
            f"{panel.assets[0]}: {count} days of prices; the network starts from HAR and "
            f"GJR-GARCH, which are fitted on at least {LEAST_FITTED}: give it "
            f"{first + LEAST_FITTED + 1} days, or train with model=lstm"
        )
    return first
