"""Where a series comes from: a data set that is fetched, or the user's own CSV file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from apps.energy.gaps import Gaps
from apps.energy.series import Series, read_csv, read_parquet
from data_scripts.energy import prepare
from data_scripts.manifest import Manifest


class Source(ABC):
    """A series and what its columns are called."""

    timestamp: str = "timestamp"

    @property
    @abstractmethod
    def name(self) -> str:
        """What to call the source in a message."""

    @property
    @abstractmethod
    def target(self) -> str:
        """Name of the column to forecast."""

    def fetch(self) -> None:
        """Obtain the data, where they have to be obtained."""
        return

    @abstractmethod
    def read(self) -> Series:
        """Read the series; UserError for data that do not fit."""


class Prepared(Source):
    """A data set that `data_scripts` fetches, checks and converts.

    dataset: its name. dir: folder of all data. mirror: folder to copy raw files from instead of
    downloading them. covariates: those used; None takes all.
    """

    def __init__(
        self,
        dataset: str,
        dir: str,
        mirror: str | None = None,
        covariates: Sequence[str] | None = None,
    ) -> None:
        self.dataset = dataset
        self.dir = Path(dir)
        self.mirror = None if mirror is None else Path(mirror)
        self.covariates = covariates

    @property
    def name(self) -> str:
        """The data set's name."""
        return self.dataset

    @property
    def target(self) -> str:
        """The column to forecast, from the manifest."""
        return str(Manifest.read(self._folder).details["target"])

    @property
    def _folder(self) -> Path:
        return self.dir / "energy" / self.dataset

    def fetch(self) -> None:
        """Fetch, check and convert the data set unless it is there."""
        prepare(self.dataset, self.dir, self.mirror)

    def read(self) -> Series:
        """Read the converted data set, with the splits of its manifest."""
        return read_parquet(self._folder, covariates=self.covariates)


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
