"""How days are split: once, or into blocks that a model walks through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import pandas as pd

from apps.errors import UserError
from apps.finance.panel import Panel


class Split(ABC):
    """Sets the borders of a panel. refit_years: between fits of classical models, by default."""

    refit_years: int = 1

    @abstractmethod
    def apply(self, panel: Panel) -> Panel:
        """The panel with its borders; UserError where they do not fit its days."""

    def starts(self, panel: Panel) -> Sequence[pd.Timestamp]:
        """The first days of the blocks, each with a training of its own, of a panel's test."""
        return [panel.test_start]


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
    """A test in blocks, with a network for each that is trained on all days before it.

    The blocks are of `years` and start with the data's own test split; a rest of less than half
    of that joins the last. Validation has the `val_years` before a block, training all days before
    those. block: this block alone, counted from 0; None: the whole test, block after block.
    """

    def __init__(self, block: int | None = None, years: int = 3, val_years: int = 5) -> None:
        if (block is not None and block < 0) or min(years, val_years) < 1:
            raise ValueError(
                f"block={block} must be null or >= 0, years={years} and val_years={val_years} >= 1"
            )
        self.block = block
        self.years = self.refit_years = years
        self.val_years = val_years

    def starts(self, panel: Panel) -> Sequence[pd.Timestamp]:
        """The first days of all blocks, or of this one."""
        return [panel.test_start] if self.block is not None else self._starts(panel)

    def apply(self, panel: Panel) -> Panel:
        """The panel with the borders of the block; UserError for a block behind its end."""
        starts = [*self._starts(panel), panel.end]
        if self.block is not None and self.block > len(starts) - 2:
            raise UserError(
                f"split.block={self.block}: there are {len(starts) - 1} blocks of {self.years} "
                f"years, counted from 0, before the test ends on {panel.end:%Y-%m-%d}"
            )
        start, end = starts[self.block or 0], starts[-1]
        if self.block is not None:
            end = starts[self.block + 1]
        val_start = start - pd.DateOffset(years=self.val_years)
        return _checked(panel.with_splits(val_start=val_start, test_start=start, end=end))

    def _starts(self, panel: Panel) -> list[pd.Timestamp]:
        """The first days of the blocks."""
        step = pd.DateOffset(years=self.years)
        starts = list(pd.date_range(panel.test_start, panel.end, freq=step, inclusive="left"))
        if len(starts) > 1 and panel.end - starts[-1] < (starts[-1] - starts[-2]) / 2:
            starts.pop()
        return starts


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
