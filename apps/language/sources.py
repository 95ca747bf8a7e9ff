"""Where texts come from: a data set that is fetched, or the user's own file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from apps.base.source import DataSet
from apps.base.source import Source as BaseSource
from apps.errors import UserError
from apps.tables.reading import Reading
from apps.tables.texts import TEXT_NAMES, find_column, near_copy, read_rows, texts_of, with_texts
from data_scripts.sentiment import bucket, prepare

PARTS = ("train", "val", "test")


class Source(BaseSource[pd.DataFrame]):
    """Texts, one a row, in the columns text, domain (kind of text) and split.

    text: what the column of texts is called. note: what was done to them, for the account.
    """

    text: str = "text"
    note: str = ""


class Prepared(DataSet, Source):
    """Texts of a data set of the sentiment application, without their ratings.

    dataset: its name. dir: folder of all data. mirror: folder to copy raw files from instead of
    downloading them. domains: kinds of text to take; None takes all.
    """

    app = "sentiment"
    obtain = staticmethod(prepare)

    def __init__(
        self,
        dataset: str,
        dir: str,
        mirror: str | None = None,
        domains: list[str] | None = None,
    ) -> None:
        DataSet.__init__(self, dataset, dir, mirror)
        self.domains = domains

    def read(self) -> pd.DataFrame:
        """Read the converted data set, with its own split by document."""
        frame = pd.read_parquet(self.folder / "data.parquet")
        known = sorted(set(frame["domain"]))
        if self.domains is not None:
            if not self.domains or not set(self.domains) <= set(known):
                raise UserError(
                    f"data.domains={self.domains}: {self.name} has the domains {', '.join(known)}"
                )
            frame = frame[frame["domain"].isin(self.domains)]
        return frame[["text", "domain", "split"]].reset_index(drop=True)


class File(Source):
    """The user's texts: the lines of a .txt file, or a column of a table; see `Reading`.

    text: name of the column; None takes one by the names that people give it. Texts with the same
    letters and digits fall on one side of the split, which is drawn by a hash of them.
    """

    def __init__(
        self,
        path: str,
        text: str | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        sep: str | None = None,
        encoding: str | None = None,
        sheet: str | None = None,
    ) -> None:
        if not (val_fraction > 0 and test_fraction > 0 and val_fraction + test_fraction < 1):
            raise ValueError(
                f"val_fraction={val_fraction}, test_fraction={test_fraction}: must be positive "
                "shares that leave texts to train on"
            )
        self.path = Path(path)
        self.wanted = text
        self.limits = (100 * test_fraction, 100 * (test_fraction + val_fraction))
        self.reading = Reading(sep=sep, encoding=encoding, sheet=sheet)

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    def read(self) -> pd.DataFrame:
        """Read the file and split it; UserError where a side of the split has no text."""
        table = read_rows(self.path, self.wanted or "text", self.reading)
        column = find_column(table, self.wanted, TEXT_NAMES)
        if column is None:
            there = ", ".join(map(repr, table.names))
            raise UserError(f"{self.path}: data.text: which column holds texts? there are {there}")
        table, left_out = with_texts(table, column)
        self.text = column
        self.note = "; ".join([table.found, *table.notes, f"texts in {column!r}", *left_out])
        frame = pd.DataFrame({"text": texts_of(table, column), "domain": "file"})
        frame["split"] = [self._part(near_copy(text)) for text in frame["text"]]
        counts = {part: int((frame["split"] == part).sum()) for part in PARTS}
        for part, count in counts.items():
            if not count:
                raise UserError(
                    f"{self.path}: {len(frame)} texts (one a row or line), none of them to "
                    f"{part} on; more, or larger data.val_fraction and test_fraction, are needed"
                )
        return frame

    def _part(self, text: str) -> str:
        number = bucket("file", text)
        return PARTS[2] if number < self.limits[0] else PARTS[number < self.limits[1]]
