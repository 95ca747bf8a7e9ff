"""Sentiment: what it brings to the shared verbs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from apps.base.application import Evaluation
from apps.base.task import Optimization, Task
from apps.base.text_application import TextApplication
from apps.report.charts.theme import Figure
from apps.report.model.results import Metric
from apps.report.model.tables import NamedTable
from apps.sentiment.baselines import predict_baselines
from apps.sentiment.data import SentimentData
from apps.sentiment.encoding import Encoding
from apps.sentiment.figures import figures
from apps.sentiment.metrics import evaluate
from apps.sentiment.mixture import fit_share, read_share
from apps.sentiment.model import TextNetwork
from apps.sentiment.predict import answer
from apps.sentiment.report_tables import domains_table, mistakes_table
from apps.sentiment.ridge import Floats, NgramRidge, NoRidge, Ridge, RidgeSource
from apps.sentiment.scoring import score
from apps.sentiment.sources import Source
from apps.sentiment.task import SentimentTask, num_outputs
from apps.sentiment.text_reader import Reading, fit_reading, read_reading
from apps.sentiment.vectors import Vectors
from apps.sentiment.vocabulary import VocabularySource, check_sizes


class Sentiment(TextApplication):
    """Polarity and intensity of short texts, or the user's own classes.

    The arguments are documented in `conf/app/sentiment.yaml`.
    """

    title = "Sentiment of texts"
    metric = "accuracy"
    trained_metric = "network_accuracy"
    metrics = (
        Metric("accuracy", "Accuracy", "", "max", 3),
        Metric("network_accuracy", "Accuracy without ridge", "", "max", 3),
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
        ridge: RidgeSource | None = None,
    ) -> None:
        super().__init__(name)
        check_sizes(batch_size=batch_size, max_length=max_length)
        if not 0 <= polarity_weight < math.inf:
            raise ValueError(f"polarity_weight must be a number >= 0, got {polarity_weight}")
        if vectors.size and not vocabulary.takes_vectors:
            raise ValueError("vectors of words need vocabulary=words")
        if isinstance(ridge, NgramRidge) and not vocabulary.splits_words:
            raise ValueError("ridge=ngrams needs vocabulary=words or vocabulary=subword")
        self.vectors = vectors
        self.vocabulary = vocabulary
        self.batch_size = batch_size
        self.max_length = max_length
        self.polarity_weight = polarity_weight
        self.ridge = ridge or NoRidge()  # the configurations of older runs name none
        self._data: SentimentData | None = None

    def datamodule(self, source: Source, seed: int) -> SentimentData:
        """The texts of a source as batches of word numbers."""
        self._data = SentimentData(
            source,
            self.vectors,
            self.vocabulary,
            self.ridge,
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

        One that is about to be trained gets its pretrained vectors and its fitted ridge; a saved
        one holds them.
        """
        encoding, data = Encoding.from_dict(description), self._data
        count = _count(encoding.classes)
        ridge = None if encoding.ngrams is None else Ridge(len(encoding.ngrams), count)
        if data is not None and isinstance(net, TextNetwork):
            net.embedding.set_vectors(torch.from_numpy(data.matrix))
        if data is not None and ridge is not None:
            ridge.set_weights(*data.ridge_weights)
        return SentimentTask(net, optimization, count, self.polarity_weight, ridge)

    def evaluate(self, task: Task, data: SentimentData) -> Evaluation:
        """Score the test texts; validation texts say how to read the network's outputs."""
        assert isinstance(task, SentimentTask)
        encoding, parts = data.encoding, (data.part("val"), data.part("test"))
        found = [
            score(task, encoding.encode(part["text"]), encoding.weigh(part["text"]))
            for part in parts
        ]
        if not all(scores.are_finite for scores in found):
            return Evaluation(dict.fromkeys((m.name for m in self.metrics), np.nan), parts[1])
        share = fit_share(found[0], parts[0]["target"], encoding.classes)
        reading, table = _read([scores.mixed(share) for scores in found], parts, encoding)
        _, alone = _read([scores.network for scores in found], parts, encoding)
        metrics = evaluate(table) | {"network_accuracy": evaluate(alone)["accuracy"]}
        return Evaluation(metrics, table, {"reading": reading.to_dict(), "ridge_share": share})

    def baselines(self, data: SentimentData) -> Iterator[tuple[str, Evaluation]]:
        """Majority, VADER, linear models of words and word pairs, read in the same way."""
        parts = (data.part("train"), data.part("val"), data.part("test"))
        for name, table in predict_baselines(*parts, data.corpus.classes):
            yield name, Evaluation(evaluate(table), table)

    def text_column(self, description: Mapping[str, Any]) -> str:
        """That which the encoding names."""
        return Encoding.from_dict(description).text

    def answer(
        self, task: Task, description: Mapping[str, Any], texts: Sequence[str]
    ) -> tuple[pd.DataFrame, str]:
        """Label, probability and words of each text."""
        assert isinstance(task, SentimentTask)
        reading, share = read_reading(description.get("reading")), read_share(description)
        return answer(task, Encoding.from_dict(description), reading, share, texts)

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
            "Baselines and networks learn from the same texts, those to train on.",
            "model=ridge_lstm answers with the mean of a network and of a ridge regression on "
            "n-grams, whose share validation texts choose. The ridge is fitted before training, "
            "and no strategy changes it: strategies are compared by the accuracy without ridge "
            "and by the validation loss of the network alone. Stress spoils what the network "
            "learns from, and not what the ridge does.",
            "VADER was developed on the tweets: its score there is not held out.",
        ]


def _read(
    scores: Sequence[Floats], parts: Sequence[pd.DataFrame], encoding: Encoding
) -> tuple[Reading, pd.DataFrame]:
    """From scores of validation and test texts: how to read them, and what the latter say."""
    val, test = parts
    reading = fit_reading(scores[0], val["target"], encoding.classes)
    return reading, pd.concat([test, reading.table(scores[1])], axis=1)


def _count(classes: Sequence[str] | None) -> int | None:
    return None if classes is None else len(classes)
