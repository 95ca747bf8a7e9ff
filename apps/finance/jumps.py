"""Days on which the price was counted anew: splits, and changes of the unit.

Such a day's return is far outside those around it, and within their reach of the logarithm of
a simple ratio, or beyond what a price can do in a day.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apps.errors import UserError

Splits = Literal["error", "adjust", "keep"]
Floats = NDArray[np.float64]

RATIOS = np.array([1.5, *range(2, 11), 12, 15, 16, 20, 25, 30, 40, 50, 100, 1000])
WINDOW = 30  # days on either side that say how volatile the price is
FAR = 8.0  # standard deviations that a split is outside the returns around it
NEAR = 3.5  # standard deviations that its return is from that of the ratio
LARGE = np.log(10.0)  # log return beyond which no ratio has to be simple
_LEAST = 0.002  # log return; a price that hardly moves has some volatility, too


@dataclass(frozen=True, slots=True)
class Jump:
    """A row after which prices are counted anew, `factor` to one (below one: a reverse split)."""

    row: int
    factor: float

    @property
    def words(self) -> str:
        """Such as `4:1` or `1:8`."""
        return f"{self.factor:g}:1" if self.factor > 1 else f"1:{1 / self.factor:g}"


def find_jumps(close: Floats) -> list[Jump]:
    """The jumps of positive prices (T,).

    The volatility around a day is 1.4826 times the median absolute return of the days within
    `WINDOW`, the day itself left out.
    """
    returns = np.diff(np.log(close))
    found = []
    for row in np.flatnonzero(np.abs(returns) > 0.3):
        around = np.delete(returns, row)[max(0, row - WINDOW) : row + WINDOW]
        spread = 1.4826 * float(np.median(np.abs(around))) if len(around) else 0.0
        spread = max(spread, _LEAST)
        size = abs(returns[row])
        ratio = RATIOS[np.argmin(np.abs(np.log(RATIOS) - size))]
        is_near = abs(size - np.log(ratio)) < NEAR * spread
        if size > FAR * spread and (is_near or size > LARGE):
            factor = float(ratio) if is_near else float(f"{np.exp(size):.3g}")
            found.append(Jump(int(row) + 1, factor if returns[row] < 0 else 1.0 / factor))
    return found


def mend_jumps(
    table: pd.DataFrame, splits: Splits, name: str, where: str
) -> tuple[pd.DataFrame, list[str]]:
    """Prices (date, close, and if there high and low) with their jumps as `splits` says, and notes.

    adjust divides all prices before a jump by its factor; keep leaves them. With error a jump is
    a UserError that names its day.
    """
    if splits not in ("error", "adjust", "keep"):
        raise UserError(f"data.splits={splits!r}: allowed are error, adjust and keep")
    close = table["close"].to_numpy(np.float64)
    jumps = find_jumps(close)
    if not jumps:
        return table, []
    first = jumps[0]
    day = f"{table['date'].iloc[first.row]:%Y-%m-%d}"
    more = f" ({len(jumps)} such days)" if len(jumps) > 1 else ""
    if splits == "error":
        raise UserError(
            f"{where}: column {name!r} goes from {close[first.row - 1]:g} to {close[first.row]:g} "
            f"on {day}{more}, which looks like an unadjusted split {first.words}; set "
            "data.splits=adjust to divide the prices before, or data.splits=keep if it is a return"
        )
    if splits == "keep":
        return table, [f"{day} looks like an unadjusted split {first.words}{more}, kept"]
    factors = np.ones(len(table))
    for jump in jumps:
        factors[: jump.row] *= jump.factor
    prices = [column for column in ("close", "high", "low") if column in table.columns]
    divided = table.assign(**{column: table[column] / factors for column in prices})
    days = ", ".join(f"{table['date'].iloc[jump.row]:%Y-%m-%d} {jump.words}" for jump in jumps[:5])
    return divided, [f"prices before a split divided ({days})"]
