"""The language model: what it brings to the shared verbs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from apps.base.application import Evaluation
from apps.base.task import Optimization, Task
from apps.base.text_application import TextApplication
from apps.language.alphabet import Alphabet, Ids
from apps.language.data import LanguageData, Sizes
from apps.language.ngrams import Floats, WittenBell
from apps.language.scoring import bits_per_character, of_texts, surprise, table
from apps.language.sources import Source
from apps.language.task import LanguageTask
from apps.report.charts.theme import Figure
from apps.report.model.formatting import fixed, label
from apps.report.model.results import Metric
from apps.report.model.tables import Cell, Column, NamedTable, Table

MOST_BITS = 1000.0  # of which a float64 still holds the perplexity


class Language(TextApplication):
    """The next character of short texts.

    The arguments are documented in `conf/app/language.yaml`.
    """

    title = "Language model of characters"
    metric = "bits"
    metrics = (
        Metric("bits", "Bits per character", "", "min", 3),
        Metric("perplexity", "Perplexity of a character", "", "min", 2),
    )

    def __init__(
        self,
        name: str,
        batch_size: int = 16,
        context: int = 256,
        texts_per_epoch: int = 4000,
        held_out: int = 1000,
        least_count: int = 5,
        max_characters: int = 500,
    ) -> None:
        super().__init__(name)
        given = {
            "batch_size": batch_size,
            "texts_per_epoch": texts_per_epoch,
            "held_out": held_out,
            "least_count": least_count,
            "max_characters": max_characters,
        }
        for key, value in given.items():
            if value < 1:
                raise ValueError(f"{key} must be >= 1, got {value}")
        if context < 2:
            raise ValueError(f"context must be >= 2, got {context}")
        self.sizes_of_data = Sizes(
            batch_size, context, texts_per_epoch, held_out, least_count, max_characters
        )

    def datamodule(self, source: Source, seed: int) -> LanguageData:
        """The texts of a source as batches of numbers."""
        return LanguageData(source, self.sizes_of_data, seed)

    def sizes(self, description: Mapping[str, Any]) -> dict[str, int]:
        """Number of characters."""
        return {"num_characters": len(Alphabet.from_dict(description))}

    def task(
        self, net: nn.Module, description: Mapping[str, Any], optimization: Optimization
    ) -> Task:
        """Wrap a network with the loss."""
        return LanguageTask(net, optimization)

    def evaluate(self, task: Task, data: LanguageData) -> Evaluation:
        """How surprising the test texts are."""
        assert isinstance(task, LanguageTask)
        texts = data.encoded("test")
        return _evaluation(data, texts, surprise(task, texts, data.alphabet.context))

    def baselines(self, data: LanguageData) -> Iterator[tuple[str, Evaluation]]:
        """Characters by their frequency, and after as many characters as validation texts ask."""
        train, val, texts = map(data.encoded, ("train", "val", "test"))
        ngrams = WittenBell(train, len(data.alphabet))
        best = int(ngrams.nats(val).mean(1).argmin())
        nats = ngrams.nats(texts)
        yield "unigram", _evaluation(data, texts, of_texts(nats[0], texts))
        yield f"{best + 1}-gram", _evaluation(data, texts, of_texts(nats[best], texts))

    def text_column(self, description: Mapping[str, Any]) -> str:
        """That of the alphabet's texts."""
        return Alphabet.from_dict(description).text

    def answer(
        self, task: Task, description: Mapping[str, Any], texts: Sequence[str]
    ) -> tuple[pd.DataFrame, str]:
        """Bits per character of each text."""
        assert isinstance(task, LanguageTask)
        alphabet = Alphabet.from_dict(description)
        encoded = [alphabet.encode(text) for text in texts]
        answers = table(encoded, surprise(task, encoded, alphabet.context))
        account = f"{bits_per_character(answers):.3f} bits per character over all of the file"
        return answers, account

    def figures(
        self, data: LanguageData, predictions: Mapping[str, pd.DataFrame]
    ) -> Sequence[Figure]:
        """None of single runs."""
        return []

    def tables(
        self, data: LanguageData, predictions: Mapping[str, pd.DataFrame]
    ) -> Sequence[NamedTable]:
        """Bits per character by kind of text, where there are several."""
        if data.frame["domain"].nunique() < 2:
            return []
        kinds = sorted(set(data.part("test")["domain"]))
        rows = [
            [Cell(label(name), label(name)), *(_bits(frame, kind) for kind in kinds)]
            for name, frame in predictions.items()
        ]
        columns = [Column("Model", words=True), *(Column(kind) for kind in kinds)]
        note = "Test texts; of networks the first seed."
        return [NamedTable("Bits per character by kind of text", Table(columns, {"": rows}), note)]

    @property
    def notes(self) -> list[str]:
        """What a reader of the scores must know."""
        return [
            "Texts are split by the document that they come from. Every text is read by itself, "
            "and its end is a character to be predicted. Characters that are rare in the training "
            "texts are one unknown character, for networks and baselines alike.",
            "The n-grams, interpolated after Witten and Bell, read all training texts; a network "
            "reads training.epochs times app.texts_per_epoch of them. Validation texts choose "
            "their length.",
        ]


def _evaluation(data: LanguageData, texts: Sequence[Ids], nats: Floats) -> Evaluation:
    found = table(texts, nats)
    bits = bits_per_character(found)
    scores = {"bits": bits, "perplexity": 2.0**bits if bits < MOST_BITS else math.inf}
    kinds = data.part("test")[["text", "domain"]]
    return Evaluation(scores, pd.concat([kinds, found], axis=1))


def _bits(frame: pd.DataFrame, kind: str) -> Cell:
    of = frame[frame["domain"] == kind]
    bits = bits_per_character(of) if len(of) else np.nan
    return Cell(fixed(bits, 3), bits)
