"""Public holidays: those of a country, or those that a column of working days tells."""

from __future__ import annotations

import holidays
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apps.errors import UserError

Dates = NDArray[np.datetime64]  # whole days of the civil calendar
SUNDAY = 6
MOST_SHARE = 0.5  # of Mondays to Fridays; more days off are no column of working days


def weekdays(civil: pd.DatetimeIndex, days_off: Dates | None) -> NDArray[np.intp]:
    """The day of the week of civil times, 0 = Monday; a day off counts as a Sunday."""
    return np.where(are_off(civil, days_off), SUNDAY, np.asarray(civil.day_of_week))


def are_off(civil: pd.DatetimeIndex, days_off: Dates | None) -> NDArray[np.bool_]:
    """Whether civil times lie on a day off; never where those are not known."""
    return np.isin(_dates(civil), np.empty(0, "datetime64[D]") if days_off is None else days_off)


def of_country(country: str, first: int, last: int) -> Dates:
    """The public holidays of a country or a part of it, such as DE or AU-VIC, in some years.

    They are those of the library `holidays`, with the days on which one is made up for. UserError
    for a place that it does not know.
    """
    code, _, part = country.partition("-")
    try:
        found = holidays.country_holidays(code, subdiv=part or None, years=range(first, last + 1))
    except NotImplementedError as error:
        raise UserError(
            f"data.country={country}: {error}; known are codes of countries such as DE, and of"
            " their parts such as AU-VIC"
        ) from None
    return np.array(sorted(found), dtype="datetime64[D]")


def of_column(name: str, workday: NDArray[np.float64], civil: pd.DatetimeIndex) -> Dates:
    """The Mondays to Fridays that a column of ones (working days) and zeros calls days off.

    A day is what most of its steps are, since the file's clock may keep no summer time. UserError
    for other values, and where it calls most days off, as a column of holidays would.
    """
    if not np.isin(workday, (0.0, 1.0)).all():
        raise UserError(f"data.workday={name}: must hold 1 on working days and 0 on days off")
    days = pd.Series(workday).groupby(_dates(civil)).mean()
    days = days[np.asarray(pd.DatetimeIndex(days.index).day_of_week < 5)]
    off = np.asarray(days < 0.5)
    if off.mean() > MOST_SHARE:
        raise UserError(
            f"data.workday={name}: is 0 on {off.sum()} of {len(off)} Mondays to Fridays; must hold"
            " 1 on working days and 0 on days off"
        )
    dates: Dates = pd.DatetimeIndex(days.index)[off].to_numpy().astype("datetime64[D]")
    return dates


def _dates(civil: pd.DatetimeIndex) -> Dates:
    dates: Dates = civil.to_numpy().astype("datetime64[D]")
    return dates
