"""Daily returns of one or more assets, with the borders of their splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apps.errors import UserError
from data_scripts.manifest import DataError, Manifest

Part = Literal["train", "val", "test"]
Floats = NDArray[np.float64]

# An unadjusted split shows as a fall to a simple fraction within so much of it.
_SPLITS = np.log([1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 7, 1 / 10, 1 / 20, 2 / 3])
_NEAR = 0.005


@dataclass(frozen=True, eq=False)
class Panel:
    """T trading days of A assets.

    returns: (T, A) close-to-close log returns in %; the first row is NaN. ranges: (T, A)
    variance of the day from its high and low (Parkinson 1980), in %^2, NaN where unknown.
    Targets of training lie from `train_start`, those of validation from `val_start`, those of
    the test from `test_start`, all before `end`.
    """

    dates: pd.DatetimeIndex
    assets: tuple[str, ...]
    returns: Floats
    ranges: Floats
    train_start: pd.Timestamp
    val_start: pd.Timestamp
    test_start: pd.Timestamp
    end: pd.Timestamp
    account: str = ""

    def bounds(self, part: Part) -> tuple[pd.Timestamp, pd.Timestamp]:
        """First day of a part's targets and the day just after them."""
        return {
            "train": (self.train_start, self.val_start),
            "val": (self.val_start, self.test_start),
            "test": (self.test_start, self.end),
        }[part]

    def origins(self, part: Part, horizon: int) -> NDArray[np.intp]:
        """Rows of the days (N,) whose next `horizon` days all lie in a part."""
        start, end = self.bounds(part)
        rows = np.arange(len(self.dates) - horizon)
        first, last = self.dates[rows + 1], self.dates[rows + horizon]
        kept: NDArray[np.intp] = rows[np.asarray((first >= start) & (last < end))]
        return kept

    def targets(self, horizon: int) -> tuple[Floats, Floats]:
        """Return (T, A) and sum of squared daily returns (T, A) over the next `horizon` days.

        NaN where those days are not all known.
        """
        frame = pd.DataFrame(self.returns)
        ahead = frame.rolling(horizon).sum().shift(-horizon)
        realised = (frame**2).rolling(horizon).sum().shift(-horizon)
        return ahead.to_numpy(), realised.to_numpy()

    def with_splits(self, **borders: pd.Timestamp) -> Panel:
        """The same days with other borders."""
        return replace(self, **borders)


def read_prepared(folder: Path) -> Panel:
    """Read a folder prepared by `data_scripts.finance`; UserError where it is not."""
    try:
        manifest = Manifest.read(folder)
        manifest.verify(folder)
    except DataError as error:
        raise UserError(f"{error}; run gradclip-data app=finance") from None
    table = pd.read_parquet(folder / next(iter(manifest.files)))
    return make_panel(
        table,
        {name: pd.Timestamp(day) for name, day in manifest.splits.items()},
        str(manifest.details["account"]),
        folder.name,
    )


def make_panel(
    table: pd.DataFrame, borders: Mapping[str, pd.Timestamp], account: str, where: str
) -> Panel:
    """A panel from a long table: date, asset, close and, if known, high and low.

    Days on which an asset has no close are left out of all of them. Raises UserError for
    closes that never change.
    """
    wide = table.pivot(index="date", columns="asset", values="close")
    whole = wide.dropna()
    notes = [account] if account else []
    if len(whole) < len(wide):
        notes.append(f"{len(wide) - len(whole)} days without all assets left out")
    returns = 100.0 * np.log(whole).diff().to_numpy(np.float64)
    for name, column in zip(whole.columns, returns.T, strict=True):
        if not (column[1:] != 0).any():
            raise UserError(f"{where}: {name}: the close never changes; there is nothing to learn")
        notes += _suspicions(str(name), pd.DatetimeIndex(whole.index), column)
    return Panel(
        pd.DatetimeIndex(whole.index),
        tuple(map(str, whole.columns)),
        returns,
        _parkinson(table, whole),
        **borders,
        account="; ".join(notes),
    )


def _parkinson(table: pd.DataFrame, whole: pd.DataFrame) -> Floats:
    """ln(high / low)^2 / (4 ln 2), in %^2 (Parkinson 1980, Journal of Business 53)."""
    if not {"high", "low"} <= set(table.columns):
        return np.full(whole.shape, np.nan)
    spread = table.assign(spread=np.log(table["high"] / table["low"]))
    wide = spread.pivot(index="date", columns="asset", values="spread").loc[whole.index]
    ranges: Floats = 1e4 * wide.to_numpy(np.float64) ** 2 / (4.0 * np.log(2.0))
    return ranges


def _suspicions(name: str, dates: pd.DatetimeIndex, returns: Floats) -> list[str]:
    """What a reader should look at: falls that look like an unadjusted split."""
    away = np.abs(np.nan_to_num(returns)[:, None] / 100.0 - _SPLITS).min(axis=1)
    days = dates[away < _NEAR]
    if not len(days):
        return []
    return [f"{name}: {days[0]:%Y-%m-%d} looks like an unadjusted split, kept"]
