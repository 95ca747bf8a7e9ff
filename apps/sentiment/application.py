"""Sentiment: what it brings to the shared verbs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from apps.base.application import Application, Evaluation
from apps.base.task import Optimization, Task
from apps.report.charts.theme import Figure
from apps.report.model.results import Metric
from apps.report.model.tables import NamedTable
from apps.sentiment.baselines import predict_baselines
from apps.sentiment.data import SentimentData
from apps.sentiment.encoding import Encoding
from apps.sentiment.figures import figures
from apps.sentiment.metrics import evaluate
from apps.sentiment.model import TextNetwork
from apps.sentiment.predict import answer
from apps.sentiment.report_tables import domains_table, mistakes_table
from apps.sentiment.scoring import score
from apps.sentiment.sources import Source
from apps.sentiment.task import SentimentTask, num_outputs
from apps.sentiment.text_reader import fit_reading, read_reading
from apps.sentiment.user_file import read_texts, texts_of
from apps.sentiment.vectors import Vectors
from apps.sentiment.vocabulary import VocabularySource, check_sizes
from apps.tables.answers import beside


class Sentiment(Application):
    """Polarity and intensity of short texts, or the user's own classes.

    The arguments are documented in `conf/app/sentiment.yaml`.
    """

    title = "Sentiment of texts"
    metric = "accuracy"
    metrics = (
        Metric("accuracy", "Accuracy", "", "max", 3),
        Metric("macro_f1", "Macro F1", "", "max", 3),
        Metric("auc", "ROC-AUC", "", "max", 3),
        Metric("log_loss", "Log loss", "", "min", 3),
        Metric("ece", "Calibration error", "", "min", 3),
        Metric("r", "Pearson r", "", "max", 3),
        Metric("accuracy_3", "3-way accuracy", "", "max", 3),
        Metric("macro_f1_3", "3-way macro F1", "", "max", 3),
    )

    def __init__(
        self,
        name: str,
        vectors: Vectors,
        vocabulary: VocabularySource,
        batch_size: int = 64,
        max_length: int = 256,
        polarity_weight: float = 0.0,
    ) -> None:
        super().__init__(name)
        check_sizes(batch_size=batch_size, max_length=max_length)
        if not 0 <= polarity_weight < math.inf:
            raise ValueError(f"polarity_weight must be a number >= 0, got {polarity_weight}")
        if vectors.size and not vocabulary.takes_vectors:
            raise ValueError("vectors of words need vocabulary=words")
        self.vectors = vectors
        self.vocabulary = vocabulary
        self.batch_size = batch_size
        self.max_length = max_length
        self.polarity_weight = polarity_weight
        self._data: SentimentData | None = None

    def datamodule(self, source: Source, seed: int) -> SentimentData:
        """The texts of a source as batches of word numbers."""
        self._data = SentimentData(
            source,
            self.vectors,
            self.vocabulary,
            batch_size=self.batch_size,
            max_length=self.max_length,
            seed=seed,
        )
        return self._data

    def sizes(self, description: Mapping[str, Any]) -> dict[str, int]:
        """Numbers of words and outputs, and the length of pretrained vectors."""
        encoding = Encoding.from_dict(description)
        return {
            "num_words": len(encoding.vocabulary),
            "num_trained": encoding.vocabulary.num_trained,
            "vector_size": encoding.vector_size,
            "num_outputs": num_outputs(_count(encoding.classes), self.polarity_weight),
        }

    def task(
        self, net: nn.Module, description: Mapping[str, Any], optimization: Optimization
    ) -> Task:
        """Wrap a network with the loss.

        One that is about to be trained gets its pretrained vectors; a saved one holds them.
        """
        if self._data is not None and isinstance(net, TextNetwork):
            net.embedding.set_vectors(torch.from_numpy(self._data.matrix))
        classes = Encoding.from_dict(description).classes
        return SentimentTask(net, optimization, _count(classes), self.polarity_weight)

    def evaluate(self, task: Task, data: SentimentData) -> Evaluation:
        """Score the test texts; validation texts say how to read the network's outputs."""
        assert isinstance(task, SentimentTask)
        val, test = data.part("val"), data.part("test")
        outputs = [score(task, data.encoding.encode(part["text"])) for part in (val, test)]
        if not all(np.isfinite(found).all() for found in outputs):
            return Evaluation(dict.fromkeys((m.name for m in self.metrics), np.nan), test)
        reading = fit_reading(outputs[0], val["target"], data.corpus.classes)
        table = pd.concat([test, reading.table(outputs[1])], axis=1)
        return Evaluation(evaluate(table), table, {"reading": reading.to_dict()})

    def baselines(self, data: SentimentData) -> Iterator[tuple[str, Evaluation]]:
        """Majority, VADER, linear models of words and word pairs, read in the same way."""
        parts = (data.part("train"), data.part("val"), data.part("test"))
        for name, table in predict_baselines(*parts, data.corpus.classes):
            yield name, Evaluation(evaluate(table), table)

    def predict(
        self, task: Task, description: Mapping[str, Any], source: Path
    ) -> tuple[pd.DataFrame, str]:
        """Label, probability and words beside each row of a table, or for each line of a text."""
        encoding = Encoding.from_dict(description)
        table = read_texts(source, encoding.text)
        answers, account = self._answer(task, description, texts_of(table, encoding.text))
        return beside(table.cells, answers), account

    def predict_text(
        self, task: Task, description: Mapping[str, Any], text: str
    ) -> tuple[pd.DataFrame, str]:
        """Label, probability and words for one text."""
        return self._answer(task, description, [text])

    def _answer(
        self, task: Task, description: Mapping[str, Any], texts: Sequence[str]
    ) -> tuple[pd.DataFrame, str]:
        assert isinstance(task, SentimentTask)
        encoding, reading = Encoding.from_dict(description), description.get("reading")
        return answer(task, encoding, read_reading(reading), texts)

    def figures(
        self, data: SentimentData, predictions: Mapping[str, pd.DataFrame]
    ) -> Sequence[Figure]:
        """Confusion matrix and reliability diagram."""
        return figures(predictions)

    def tables(
        self, data: SentimentData, predictions: Mapping[str, pd.DataFrame]
    ) -> Sequence[NamedTable]:
        """Scores by domain with their intervals, and the most confident mistakes."""
        return [*domains_table(predictions), *mistakes_table(predictions)]

    @property
    def notes(self) -> list[str]:
        """What a reader of the scores must know."""
        return [
            "Texts are split by the document they come from. Where the truth is a rating from -4 "
            "to 4, accuracy, F1, ROC-AUC, log loss and calibration error are over texts of at "
            "least 0.5 away from neutral, and r and the 3-way scores over all. Every row, "
            "baselines too, has its thresholds and probabilities from validation texts.",
            "VADER was developed on the tweets: its score there is not held out.",
        ]


def _count(classes: Sequence[str] | None) -> int | None:
    return None if classes is None else len(classes)
