"""Where an application's data come from, and data sets that `data_scripts` prepare."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

Data_co = TypeVar("Data_co", covariant=True)


class Source(ABC, Generic[Data_co]):
    """Something that an application's data can be read from."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What to call the source in a message."""

    def fetch(self) -> None:
        """Obtain the data, where they have to be obtained."""
        return

    @abstractmethod
    def read(self) -> Data_co:
        """Read the data; UserError for data that do not fit."""


class DataSet(ABC):
    """The half of a source that fetches, checks and converts a data set of an application.

    dataset: its name. dir: folder of all data. mirror: folder to copy raw files from instead of
    downloading them. A subclass names its application `app`, and `obtain`, which prepares.
    """

    app: ClassVar[str]

    @staticmethod
    @abstractmethod
    def obtain(dataset: str, data_dir: Path, mirror: Path | None = None) -> Path:
        """Fetch, check and convert a data set into a folder of all data, unless it is there."""

    def __init__(self, dataset: str, dir: str, mirror: str | None = None) -> None:
        self.dataset = dataset
        self.dir = Path(dir)
        self.mirror = None if mirror is None else Path(mirror)

    @property
    def name(self) -> str:
        """The data set's name."""
        return self.dataset

    @property
    def folder(self) -> Path:
        """Where the converted data set is."""
        return self.dir / self.app / self.dataset

    def fetch(self) -> None:
        """Fetch, check and convert the data set unless it is there."""
        self.obtain(self.dataset, self.dir, self.mirror)
