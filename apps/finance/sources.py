"""Where prices come from: a data set that is fetched, or the user's own file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from apps.base.source import DataSet
from apps.base.source import Source as BaseSource
from apps.errors import UserError
from apps.finance.jumps import Splits
from apps.finance.panel import Panel, read_prepared
from apps.finance.user_file import PriceOptions, panel_of, read_prices
from apps.tables.reading import Reading
from data_scripts.finance import prepare


class Source(BaseSource[Panel]):
    """Something that prices can be read from."""


class Prepared(DataSet, Source):
    """A data set that `data_scripts` fetches, checks and converts.

    dataset: its name. dir: folder of all data. mirror: folder to copy raw files from instead of
    downloading them.
    """

    app = "finance"
    obtain = staticmethod(prepare)

    def __init__(self, dataset: str, dir: str, mirror: str | None = None) -> None:
        DataSet.__init__(self, dataset, dir, mirror)

    def read(self) -> Panel:
        """Read the converted data set, with the splits of its manifest."""
        return read_prepared(self.folder)


class Csv(Source):
    """The user's file, split by shares of its days; see `PriceOptions` and `Reading`."""

    def __init__(
        self,
        path: str,
        date: str | None = None,
        close: str | None = None,
        id: str | int | None = None,
        id_column: str | None = None,
        splits: Splits = "error",
        sort: bool = False,
        val_fraction: float = 0.15,
        test_fraction: float = 0.2,
        columns: list[str] | None = None,
        sep: str | None = None,
        decimal: str | None = None,
        dayfirst: bool | None = None,
        encoding: str | None = None,
        sheet: str | None = None,
        missing: list[str] | None = None,
    ) -> None:
        if not (val_fraction > 0 and test_fraction > 0 and val_fraction + test_fraction < 0.8):
            raise ValueError(
                f"val_fraction={val_fraction}, test_fraction={test_fraction}: both must be above "
                "0 and their sum below 0.8"
            )
        self.path = Path(path)
        self.options = PriceOptions(
            date=date,
            close=close,
            id=None if id is None else str(id),
            id_column=id_column,
            splits=splits,
            sort=sort,
            reading=Reading(columns, sep, decimal, dayfirst, encoding, sheet, missing or ()),
        )
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    def read(self) -> Panel:
        """Read the file and split its days."""
        prices = read_prices(self.path, self.options)
        dates = pd.DatetimeIndex(prices.table["date"])
        count = len(dates)
        if count < 2:
            raise UserError(f"{self.path}: {count} rows of prices give no return")
        ends = (1 - self.test_fraction - self.val_fraction, 1 - self.test_fraction)
        val, test = (dates[int(share * count)] for share in ends)
        borders = {
            "train_start": dates[0],
            "val_start": val,
            "test_start": test,
            "end": dates[-1] + pd.Timedelta(days=1),
        }
        return panel_of(prices, self.path, borders)
