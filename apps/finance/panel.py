"""Daily returns of one or more assets, with the borders of their splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apps.errors import UserError
from apps.finance.jumps import mend_jumps
from data_scripts.manifest import DataError, Manifest

Part = Literal["train", "val", "test"]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Panel:
    """T trading days of A assets.

    returns: (T, A) close-to-close log returns in %; the first row is NaN. ranges: (T, A)
    variance of the day from its high and low (Parkinson 1980), in %^2, NaN where unknown.
    Targets of training lie from `train_start`, those of validation from `val_start`, those of
    the test from `test_start`, all before `end`. account: what reading changed; found: the format
    of a user's file, and options: how to read another such file, as plain values.
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
    found: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

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
    notes = [str(manifest.details["account"])]
    for name, asset in table.sort_values("date").groupby("asset"):
        kept = asset.dropna(subset="close")
        notes += [f"{name}: {note}" for note in mend_jumps(kept, "keep", "close", folder.name)[1]]
    borders = {name: pd.Timestamp(day) for name, day in manifest.splits.items()}
    return make_panel(table, borders, "; ".join(notes), folder.name)


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
