"""Where a series comes from: a data set that is fetched, or the user's own CSV file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from apps.base.source import DataSet
from apps.base.source import Source as BaseSource
from apps.energy.gaps import Gaps
from apps.energy.series import Series, read_csv, read_parquet
from data_scripts.energy import prepare
from data_scripts.manifest import Manifest


class Source(BaseSource[Series]):
    """A series and what its columns are called."""

    timestamp: str = "timestamp"

    @property
    @abstractmethod
    def target(self) -> str:
        """Name of the column to forecast."""


class Prepared(DataSet, Source):
    """A data set that `data_scripts` fetches, checks and converts.

    dataset: its name. dir: folder of all data. mirror: folder to copy raw files from instead of
    downloading them. covariates: those used; None takes all.
    """

    app = "energy"
    obtain = staticmethod(prepare)

    def __init__(
        self,
        dataset: str,
        dir: str,
        mirror: str | None = None,
        covariates: Sequence[str] | None = None,
    ) -> None:
        DataSet.__init__(self, dataset, dir, mirror)
        self.covariates = covariates

    @property
    def target(self) -> str:
        """The column to forecast, from the manifest."""
        return str(Manifest.read(self.folder).details["target"])

    def read(self) -> Series:
        """Read the converted data set, with the splits of its manifest."""
        return read_parquet(self.folder, covariates=self.covariates)


class Csv(Source):
    """The user's CSV file: a timestamp, a target and any covariates known ahead.

    The arguments are those of `read_csv`, which documents them.
    """

    def __init__(
        self,
        path: str,
        target: str,
        timestamp: str = "timestamp",
        covariates: Sequence[str] | None = None,
        frequency: str | None = None,
        timezone: str | None = None,
        utc_offset: str | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.15,
        max_gap: int | None = None,
        gaps: Gaps = "error",
    ) -> None:
        self.path = Path(path)
        self.timestamp = timestamp
        self._target = target
        self._options = {
            "covariates": covariates,
            "frequency": frequency,
            "timezone": timezone,
            "utc_offset": utc_offset,
            "val_fraction": val_fraction,
            "test_fraction": test_fraction,
            "max_gap": max_gap,
            "gaps": gaps,
        }

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    @property
    def target(self) -> str:
        """The column to forecast."""
        return self._target

    def read(self) -> Series:
        """Read the file and split it at whole days."""
        return read_csv(self.path, self.target, self.timestamp, **self._options)  # type: ignore[arg-type]
