"""Where a series comes from: a data set that is fetched, or the user's own file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from apps.base.source import DataSet
from apps.base.source import Source as BaseSource
from apps.energy.gaps import Gaps
from apps.energy.series import Series, read_file, read_parquet
from apps.energy.table import TableOptions
from apps.tables.reading import Reading
from data_scripts.energy import prepare


class Source(BaseSource[Series]):
    """Something that a series can be read from."""


class Prepared(DataSet, Source):
    """A data set that `data_scripts` fetches, checks and converts.

    dataset: its name. dir: folder of all data. mirror: folder to copy raw files from instead of
    downloading them. covariates: those used; None takes all. country, workday: see `TableOptions`.
    """

    app = "energy"
    obtain = staticmethod(prepare)

    def __init__(
        self,
        dataset: str,
        dir: str,
        mirror: str | None = None,
        covariates: Sequence[str] | None = None,
        country: str | None = None,
        workday: str | None = None,
    ) -> None:
        DataSet.__init__(self, dataset, dir, mirror)
        self.covariates = covariates
        self.days_off = {"country": country, "workday": workday}

    def read(self) -> Series:
        """Read the converted data set, with the splits of its manifest."""
        return read_parquet(self.folder, covariates=self.covariates, **self.days_off)


class Csv(Source):
    """The user's table: times, a target and any covariates; see `TableOptions` and `Reading`.

    val_fraction, test_fraction: shares of the days to validate and test on, at the end.
    """

    def __init__(
        self,
        path: str,
        target: str | None = None,
        timestamp: str | list[str] | None = None,
        known: list[str] | Literal["all"] | None = None,
        past: list[str] | None = None,
        id: str | int | None = None,
        id_column: str | None = None,
        frequency: str | None = None,
        timezone: str | None = None,
        utc_offset: str | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.15,
        max_gap: int | None = None,
        gaps: Gaps = "error",
        sort: bool = False,
        country: str | None = None,
        workday: str | None = None,
        columns: list[str] | None = None,
        sep: str | None = None,
        decimal: str | None = None,
        dayfirst: bool | None = None,
        encoding: str | None = None,
        sheet: str | None = None,
        missing: list[str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.fractions = {"val_fraction": val_fraction, "test_fraction": test_fraction}
        self.options = TableOptions(
            target=target,
            timestamp=timestamp,
            known=known,
            past=past,
            id=None if id is None else str(id),
            id_column=id_column,
            timezone=timezone,
            utc_offset=utc_offset,
            frequency=frequency,
            max_gap=max_gap,
            gaps=gaps,
            sort=sort,
            country=country,
            workday=workday,
            reading=Reading(columns, sep, decimal, dayfirst, encoding, sheet, missing or ()),
        )

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    def read(self) -> Series:
        """Read the file and split it at whole days."""
        return read_file(self.path, self.options, **self.fractions)
