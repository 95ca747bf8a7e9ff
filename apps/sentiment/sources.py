"""Where texts come from: a data set that is fetched, or the user's own file."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten

import numpy as np
import pandas as pd

from apps.base.source import DataSet
from apps.base.source import Source as BaseSource
from apps.errors import UserError
from apps.sentiment.corpus import PARTS, SCALE, Corpus, check, choose_domains
from apps.sentiment.user_file import LABEL_NAMES, RATING_NAMES, as_label, in_order, one_spelling
from apps.tables.numbers import read_numbers
from apps.tables.read import read_table
from apps.tables.reading import Reading
from apps.tables.table import Table, is_nested
from apps.tables.texts import TEXT_NAMES, find_column, near_copy, texts_of, with_texts
from data_scripts.sentiment import bucket, prepare

_LABELS = ("negative", "positive")
_LEAVE_OUT = "give every text a judgement, or leave the row out"
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
    """The user's file of texts: a text a row, with a label or a rating; see `Reading`.

    text, label, rating, domain, document: names of columns; None takes a text column and a column
    of labels, or else of ratings, by the names that people give them. classes: the labels in
    order; None takes those of the file. rating_range: lowest and highest rating, read as -4 and
    4; None takes those of the file. Rows of one document (without that column: near copies of one
    text) fall on one side of the split, drawn by a hash of it.
    """

    def __init__(
        self,
        path: str,
        text: str | None = None,
        label: str | None = None,
        rating: str | None = None,
        classes: list[str | int | float | bool] | None = None,
        rating_range: tuple[float, float] | None = None,
        domain: str | None = None,
        document: str | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        train_domains: list[str] | None = None,
        test_domains: list[str] | None = None,
        columns: list[str] | None = None,
        sep: str | None = None,
        decimal: str | None = None,
        encoding: str | None = None,
        sheet: str | None = None,
    ) -> None:
        if label is not None and rating is not None:
            raise ValueError("name one column, label or rating")
        if not (val_fraction > 0 and test_fraction > 0 and val_fraction + test_fraction < 1):
            raise ValueError(
                f"val_fraction={val_fraction}, test_fraction={test_fraction}: must be positive "
                "shares that leave texts to train on"
            )
        if rating_range is not None and not rating_range[0] < rating_range[1]:
            raise ValueError(f"rating_range must be lowest and highest, got {list(rating_range)}")
        self.path = Path(path)
        self.wanted = {"text": text, "label": label, "rating": rating}
        self.classes = None if classes is None else [as_label(name) or "" for name in classes]
        self.rating_range = rating_range
        self.domain = domain
        self.document = document
        self.limits = (100 * test_fraction, 100 * (test_fraction + val_fraction))
        self.domains = (train_domains, test_domains)
        self.reading = Reading(
            columns, sep, decimal, encoding=encoding, sheet=sheet, missing=None
        )  # every text has a judgement, so that no word stands for a missing one

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    def read(self) -> Corpus:
        """Read the file and split it by document."""
        table = read_table(self.path, self.reading)
        table.require([name for name in (self.domain, self.document) if name is not None])
        self.text, judged, is_label = self._columns(table)
        table, left_out = with_texts(table, self.text)
        frame = pd.DataFrame({"text": texts_of(table, self.text)})
        frame["domain"] = _names(table, self.domain) or "file"
        copies = frame["text"].map(near_copy)
        documents = _names(table, self.document)
        frame["document"] = copies if documents is None else documents
        classes = None
        notes = [table.found, *table.notes, f"texts in {self.text!r}", *left_out]
        if is_label:
            labels, note = one_spelling(_as_labels(table, judged), self.classes)
            frame["target"], classes = self._labels(table, judged, labels)
            notes.append(f"labels in {judged!r}{note}")
        else:
            frame["target"], note = self._ratings(table, judged)
            notes.append(note)
        frame["split"] = [self._part(document) for document in frame["document"]]
        frame = choose_domains(frame, *self.domains, self.name)
        corpus = Corpus(frame, classes, "; ".join(notes))
        check(corpus, self.name)
        return corpus

    def _columns(self, table: Table) -> tuple[str, str, bool]:
        """The columns of texts and of labels or ratings, and whether they are labels."""
        text = find_column(table, self.wanted["text"], TEXT_NAMES)
        label = rating = None
        if self.wanted["rating"] is None:
            label = find_column(table, self.wanted["label"], LABEL_NAMES)
        if label is None:
            rating = find_column(table, self.wanted["rating"], RATING_NAMES)
        judged = label or rating
        there = shorten(", ".join(map(repr, table.names)), 500, placeholder=" ...")
        there += table.sheet_cure
        several = [name for name in table.names if table.cells[name].map(is_nested).any()]
        if several:
            there += f" ({', '.join(several)} of several values: export one a column, as JSON-MIN)"
        if text is None:
            raise UserError(
                f"{self.path}: data.text: which column holds texts? there are {there}; of a file "
                "without a header name the columns: data.columns"
            )
        if judged is None or judged == text:
            raise UserError(
                f"{self.path}: which column judges the texts? set data.label (classes) or "
                f"data.rating (numbers); there are {there}"
            )
        return text, judged, label is not None

    def _part(self, document: str) -> str:
        number = bucket("file", document)
        return PARTS[2] if number < self.limits[0] else PARTS[number < self.limits[1]]

    def _labels(
        self, table: Table, name: str, labels: list[str | None]
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        """The number of each row's class, and the classes."""
        classes = tuple(self.classes or in_order({label for label in labels if label is not None}))
        if len(classes) > MOST_CLASSES:
            raise UserError(
                f"{self.path}: column {name!r} has {len(classes)} different labels; at most "
                f"{MOST_CLASSES} are taken for classes (numbers are read with data.rating={name})"
            )
        numbers = {label: number for number, label in enumerate(classes)}
        for row, label in enumerate(labels):
            if label is None:
                raise UserError(f"{table.at(row, name)}: an empty cell; {_LEAVE_OUT}")
            if label not in numbers:
                known = ", ".join(classes)
                raise UserError(
                    f"{table.at(row, name)}: unknown label {label!r}; data.classes are {known}"
                )
        return np.array([numbers[str(label)] for label in labels]), classes

    def _ratings(self, table: Table, name: str) -> tuple[np.ndarray, str]:
        """Ratings from -4 to 4, and how they were read."""
        found = read_numbers(table, name)
        ratings = found.values
        if np.isnan(ratings).any():
            row = int(np.argmax(np.isnan(ratings)))
            raise UserError(f"{table.at(row, name)}: an empty cell; {_LEAVE_OUT}")
        low, high = self.rating_range or (float(ratings.min()), float(ratings.max()))
        outside = (ratings < low) | (ratings > high)
        if outside.any():
            row = int(np.argmax(outside))
            raise UserError(
                f"{table.at(row, name)}: {ratings[row]:g} is outside "
                f"data.rating_range=[{low:g}, {high:g}]"
            )
        half = max((high - low) / 2, 1e-12)
        read_as = f"ratings in {name!r}, {low:g} to {high:g} read as {-SCALE:g} to {SCALE:g}"
        return SCALE * (ratings - (low + high) / 2) / half, "; ".join([read_as, *found.notes])


def _names(table: Table, name: str | None) -> list[str] | None:
    """The names in a column, `none` where there is none; None without the column."""
    if name is None:
        return None
    return [label or "none" for label in _as_labels(table, name)]


def _as_labels(table: Table, name: str) -> list[str | None]:
    labels = []
    for row, cell in enumerate(table.cells[name]):
        try:
            labels.append(as_label(cell))
        except ValueError as error:
            raise UserError(f"{table.at(row, name)}: {error}") from error
    return labels
