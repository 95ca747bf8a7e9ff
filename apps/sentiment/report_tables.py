"""Tables of predicted sentiment for the report: scores by domain, and mistakes to read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from apps.report.model.formatting import fixed, label
from apps.report.model.tables import Cell, Column, NamedTable, Table
from apps.sentiment.baselines import NAMES
from apps.sentiment.bootstrap import correlation_interval, mean_interval
from apps.sentiment.figures import shown
from apps.sentiment.metrics import classes_of, decided, evaluate, is_rated

MISTAKES = 15
LONGEST = 300  # letters of a text that are printed


def domains_table(predictions: Mapping[str, pd.DataFrame]) -> Sequence[NamedTable]:
    """Accuracy, ROC-AUC and r of every model, domain by domain."""
    if not predictions:
        return []
    first = next(iter(predictions.values()))
    rated = is_rated(first)
    columns = [
        Column("Model", words=True),
        Column("Accuracy", "95 % interval"),
        Column("ROC-AUC"),
        *([Column("r", "95 % interval")] if rated else []),
    ]
    groups = {
        domain: [
            [Cell(label(name), label(name)), *_cells(frame[frame["domain"] == domain], rated)]
            for name, frame in predictions.items()
        ]
        for domain in first["domain"].unique()
    }
    return [
        NamedTable(
            "Scores by domain",
            Table(columns, groups),
            "Test texts; of networks the first seed. Intervals are bootstrapped over documents, "
            "not texts, so that sentences of one review count as what they are.",
        )
    ]


def _cells(frame: pd.DataFrame, rated: bool) -> list[Cell]:
    scores = evaluate(frame)
    kept, truth, probabilities = decided(frame)
    hits = pd.Series(truth == probabilities.argmax(axis=1), index=kept.index)
    cells = [
        _with_interval(scores["accuracy"], lambda: mean_interval(hits, kept["document"])),
        Cell(fixed(scores["auc"], 3), scores["auc"]),
    ]
    if rated:
        cells.append(
            _with_interval(
                scores["r"],
                lambda: correlation_interval(frame["score"], frame["target"], frame["document"]),
            )
        )
    return cells


def _with_interval(value: float, interval: Callable[[], tuple[float, float]]) -> Cell:
    if not np.isfinite(value):
        return Cell(fixed(None, 3))
    low, high = interval()
    return Cell(f"{fixed(value, 3)} ({fixed(low, 3)} to {fixed(high, 3)})", value)


def mistakes_table(predictions: Mapping[str, pd.DataFrame]) -> Sequence[NamedTable]:
    """The test texts whose wrong class the network was surest of."""
    trained = [name for name in predictions if name not in NAMES]
    if not trained:
        return []
    name = shown(trained)
    frame, truth, probabilities = decided(predictions[name])
    names = ["negative", "positive"] if is_rated(frame) else classes_of(frame)
    called = probabilities.argmax(axis=1)
    sure = probabilities.max(axis=1)
    wrong = np.flatnonzero(called != truth)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:MISTAKES]
    rows = []
    for i in worst:
        row = frame.iloc[i]
        human = names[truth[i]] + (f" {row['target']:+.1f}" if is_rated(frame) else "")
        text = row["text"] if len(row["text"]) <= LONGEST else row["text"][:LONGEST] + " ..."
        rows.append(
            [
                Cell(text),
                Cell(row["domain"]),
                Cell(human),
                Cell(names[called[i]]),
                Cell(fixed(float(sure[i]), 3), float(sure[i])),
            ]
        )
    columns = [
        Column("Text", words=True),
        Column("Domain", words=True),
        Column("Truth", words=True),
        Column("Called", words=True),
        Column("Probability", "of what it was called"),
    ]
    note = f"{len(wrong)} of {len(truth)} texts are called wrongly by {label(name)}, first seed."
    return [NamedTable("Most confident mistakes", Table(columns, {"": rows}), note)]
