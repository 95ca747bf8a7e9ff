"""Where prices come from: a data set that is fetched, or the user's own CSV file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from apps.base.source import DataSet
from apps.base.source import Source as BaseSource
from apps.errors import UserError
from apps.finance.panel import Panel, make_panel, read_prepared
from apps.finance.user_file import read_prices
from data_scripts.finance import prepare


class Source(BaseSource[Panel]):
    """Prices, and the names of their columns in a file: `close` None is as in `read_prices`."""

    date: str = "date"
    close: str | None = None


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
    """The user's CSV file, split by shares of its days; `read_prices` documents the columns."""

    def __init__(
        self,
        path: str,
        date: str = "date",
        close: str | None = None,
        val_fraction: float = 0.15,
        test_fraction: float = 0.2,
    ) -> None:
        if not (val_fraction > 0 and test_fraction > 0 and val_fraction + test_fraction < 0.8):
            raise ValueError(
                f"val_fraction={val_fraction}, test_fraction={test_fraction}: both must be above "
                "0 and their sum below 0.8"
            )
        self.path = Path(path)
        self.date = date
        self.close = close
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    def read(self) -> Panel:
        """Read the file and split its days."""
        table, account = read_prices(self.path, self.date, self.close)
        dates = pd.DatetimeIndex(table["date"])
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
        table = table.assign(asset=self.path.stem)
        return make_panel(table, borders, account, str(self.path))
