"""The variance that a network may start from: the mean of HAR's and of GJR-GARCH-t's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pandas as pd

from apps.errors import UserError
from apps.finance.garch import garch
from apps.finance.har import DAYS, har
from apps.finance.panel import Floats, Panel

LEAST_FITTED = 300  # days to fit a classical model on
_LEAST = 1e-4  # variance, %^2


@dataclass(frozen=True, slots=True)
class Refits:
    """When both models are fitted: on the days before `val_start`, and later anew.

    train_start, val_start, test_start: dates such as 2005-01-01. years: between the later fits,
    one of which falls on `test_start`; 0: there are none.
    """

    train_start: str
    val_start: str
    test_start: str
    years: int

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
def har_gjr_variance(panel: Panel, horizon: int, refits: Refits) -> Floats:
    """Mean (T, A) of both models' variances over the horizon after each day, %^2.

    NaN on the first days, of which HAR's averages know too little. Days up to the first fit's last
    are forecast by that fit, which knows what followed them; later days know the past alone.

    Raises UserError for a panel with too few days to fit the models on.
    """
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
    starts = refits.starts(panel, first)
    edges = [first + max(DAYS), *starts[1:], count]
    variance = np.full(panel.returns.shape, np.nan)
    for known, (begin, end) in zip(starts, pairwise(edges), strict=True):
        rows = np.arange(begin, end)
        for asset, (returns, ranges) in enumerate(
            zip(panel.returns.T, panel.ranges.T, strict=True)
        ):
            past = returns, ranges, first, rows, horizon
            regressed = har(*past, known=known)[1]
            recursive = garch(*past, kind="gjr_garch_t", known=known)[1]
            variance[rows, asset] = (regressed + recursive) / 2
    floored: Floats = np.maximum(variance, horizon * _LEAST)
    return floored
