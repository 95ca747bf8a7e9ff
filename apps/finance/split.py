"""How days are split: once, or into blocks that a model walks through."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pandas as pd

from apps.errors import UserError
from apps.finance.panel import Panel


class Split(ABC):
    """Sets the borders of a panel."""

    @abstractmethod
    def apply(self, panel: Panel) -> Panel:
        """The panel with its borders; UserError where they do not fit its days."""


class Fixed(Split):
    """Trains before `val_start`, validates before `test_start`, tests before `end`.

    A border that is None is that of the data. Dates such as 2005-01-01.
    """

    def __init__(
        self, val_start: str | None = None, test_start: str | None = None, end: str | None = None
    ) -> None:
        given = {"val_start": val_start, "test_start": test_start, "end": end}
        self.borders = {name: _date(name, day) for name, day in given.items() if day is not None}

    def apply(self, panel: Panel) -> Panel:
        """The panel with these borders."""
        return _checked(panel.with_splits(**self.borders))


class WalkForward(Split):
    """One block of a walk-forward test: train on all days before, test on the next `years`.

    Block 0 starts at the data's own test split. Validation has the `val_years` before the block,
    training all days before that. A run for each block, such as by `sweep=walk_forward`, goes
    through the whole test split with a model that is never older than a block.
    """

    def __init__(self, block: int = 0, years: int = 3, val_years: int = 5) -> None:
        if block < 0 or min(years, val_years) < 1:
            raise ValueError(
                f"block={block} must be >= 0, years={years} and val_years={val_years} >= 1"
            )
        self.block = block
        self.years = years
        self.val_years = val_years

    def apply(self, panel: Panel) -> Panel:
        """The panel with the borders of the block; UserError for a block behind its end."""
        start = panel.test_start + pd.DateOffset(years=self.block * self.years)
        if start >= panel.end:
            raise UserError(
                f"split.block={self.block}: starts on {start:%Y-%m-%d}, but the test ends on "
                f"{panel.end:%Y-%m-%d}"
            )
        end = min(start + pd.DateOffset(years=self.years), panel.end)
        val_start = start - pd.DateOffset(years=self.val_years)
        return _checked(panel.with_splits(val_start=val_start, test_start=start, end=end))


def _date(name: str, day: str) -> pd.Timestamp:
    try:
        return pd.Timestamp(day)
    except ValueError:
        raise ValueError(f"{name} must be a date such as 2005-01-01, got {day!r}") from None


def _checked(panel: Panel) -> Panel:
    borders = [panel.train_start, panel.val_start, panel.test_start, panel.end]
    if sorted(set(borders)) != borders:
        text = ", ".join(f"{border:%Y-%m-%d}" for border in borders)
        raise UserError(f"split: train, val, test and end must start in this order, got {text}")
    return panel
