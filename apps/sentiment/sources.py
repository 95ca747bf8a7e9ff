"""Where texts come from: a data set that is fetched, or the user's own file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from apps.base.csv_table import numbers
from apps.base.source import DataSet
from apps.base.source import Source as BaseSource
from apps.errors import UserError
from apps.sentiment.corpus import PARTS, SCALE, Corpus, check, choose_domains
from apps.sentiment.user_file import column, read_rows
from data_scripts.sentiment import bucket, normalise, prepare

_LABELS = ("negative", "positive")
MOST_CLASSES = 50


class Source(BaseSource[Corpus]):
    """Texts with human judgements. `text` is what the column of texts is called."""

    text: str = "text"


class Prepared(DataSet, Source):
    """A data set that `data_scripts` fetches, checks and converts.

    dataset: its name. dir: folder of all data. mirror: folder to copy raw files from instead of
    downloading them. train_domains, test_domains: the domains to train (and validate) and to
    test on; None takes all.
    """

    app = "sentiment"
    obtain = staticmethod(prepare)

    def __init__(
        self,
        dataset: str,
        dir: str,
        mirror: str | None = None,
        train_domains: list[str] | None = None,
        test_domains: list[str] | None = None,
    ) -> None:
        DataSet.__init__(self, dataset, dir, mirror)
        self.train_domains = train_domains
        self.test_domains = test_domains

    def read(self) -> Corpus:
        """Read the converted data set, with its own split."""
        frame = pd.read_parquet(self.folder / "data.parquet")
        classes = None
        if "label" in frame:
            classes = _LABELS
            frame["rating"] = frame.pop("label").map(dict(zip(_LABELS, (0, 1), strict=True)))
        frame = frame.rename(columns={"rating": "target"})
        frame = choose_domains(frame, self.train_domains, self.test_domains, self.name)
        return Corpus(frame, classes)


class File(Source):
    """The user's CSV or JSON-lines file: a text a row, with a label or a rating.

    text, label, rating, domain, document: names of columns. classes: the labels in order; None
    takes those of the file. rating_range: lowest and highest rating, read as -4 and 4; None
    takes those of the file. Rows of one document (without that column: near copies of one
    text) fall on one side of the split, drawn by a hash of it.
    """

    def __init__(
        self,
        path: str,
        text: str = "text",
        label: str | None = None,
        rating: str | None = None,
        classes: list[str] | None = None,
        rating_range: tuple[float, float] | None = None,
        domain: str | None = None,
        document: str | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        train_domains: list[str] | None = None,
        test_domains: list[str] | None = None,
    ) -> None:
        if (label is None) == (rating is None):
            raise ValueError("name one column, label or rating")
        if not (val_fraction > 0 and test_fraction > 0 and val_fraction + test_fraction < 1):
            raise ValueError(
                f"val_fraction={val_fraction}, test_fraction={test_fraction}: must be positive "
                "shares that leave texts to train on"
            )
        if rating_range is not None and not rating_range[0] < rating_range[1]:
            raise ValueError(f"rating_range must be lowest and highest, got {list(rating_range)}")
        self.path = Path(path)
        self.text = text
        self.label = label
        self.rating = rating
        self.classes = classes
        self.rating_range = rating_range
        self.domain = domain
        self.document = document
        self.limits = (100 * test_fraction, 100 * (test_fraction + val_fraction))
        self.domains = (train_domains, test_domains)

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    def read(self) -> Corpus:
        """Read the file and split it by document."""
        rows = read_rows(self.path)
        wanted = [self.text, self.label, self.rating, self.domain, self.document]
        for name in filter(None, wanted):
            column(rows, name, self.path)
        present = rows[self.text].fillna("").str.strip() != ""
        frame = pd.DataFrame({"text": rows[self.text]})
        frame["domain"] = rows[self.domain].fillna("none") if self.domain else "file"
        documents = rows[self.document] if self.document else None
        copies = frame["text"].fillna("").map(normalise)
        frame["document"] = copies if documents is None else documents.fillna(copies)
        frame["target"], classes, note = self._targets(rows, present)
        frame["split"] = [self._part(d) for d in frame["document"]]
        frame = choose_domains(frame[present], *self.domains, self.name)
        if not present.all():
            note = f"{(~present).sum()} rows without a text left out{'; ' if note else ''}{note}"
        corpus = Corpus(frame, classes, note)
        check(corpus, self.name)
        return corpus

    def _part(self, document: str) -> str:
        number = bucket("file", document)
        return PARTS[2] if number < self.limits[0] else PARTS[number < self.limits[1]]

    def _targets(
        self, rows: pd.DataFrame, present: pd.Series
    ) -> tuple[np.ndarray, tuple[str, ...] | None, str]:
        judged = rows[self.label or self.rating]
        if (judged.isna() & present).any():
            row = int(np.argmax(judged.isna() & present)) + 1
            raise UserError(f"{self.path}: column {judged.name!r}, data row {row}: an empty cell")
        if self.label is not None:
            classes = self._known_classes(judged[present])
            return self._numbers(judged.where(present, classes[0]), classes), classes, ""
        ratings = numbers(self.path, judged.where(present))
        low, high = self.rating_range or (float(ratings.min()), float(ratings.max()))
        outside = (ratings < low) | (ratings > high)
        if outside.any():
            row = int(np.argmax(outside))
            raise UserError(
                f"{self.path}: column {judged.name!r}, data row {row + 1}: {judged.iloc[row]} is "
                f"outside data.rating_range=[{low:g}, {high:g}]"
            )
        half = max((high - low) / 2, 1e-12)
        note = f"ratings {low:g} to {high:g} read as {-SCALE:g} to {SCALE:g}"
        return (SCALE * (ratings - (low + high) / 2) / half).to_numpy(), None, note

    def _known_classes(self, labels: pd.Series) -> tuple[str, ...]:
        classes = self.classes or sorted(set(labels.str.strip()))
        if len(classes) > MOST_CLASSES:
            raise UserError(
                f"{self.path}: column {labels.name!r} has {len(classes)} different labels; at "
                f"most {MOST_CLASSES} are taken for classes (numbers are read with data.rating)"
            )
        return tuple(classes)

    def _numbers(self, labels: pd.Series, classes: Sequence[str]) -> np.ndarray:
        found = labels.str.strip().map({name: i for i, name in enumerate(classes)})
        if found.isna().any():
            row = int(np.argmax(found.isna()))
            raise UserError(
                f"{self.path}: column {labels.name!r}, data row {row + 1}: unknown label "
                f"{labels.iloc[row]!r}; data.classes are {', '.join(classes)}"
            )
        codes: np.ndarray = found.to_numpy(int)
        return codes
