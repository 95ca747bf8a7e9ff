"""How surprising texts are to a trained network or to n-grams."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from apps.language.alphabet import UNKNOWN, Ids, cut
from apps.language.data import Pieces
from apps.language.ngrams import Floats
from apps.language.task import LanguageTask


def surprise(task: LanguageTask, texts: Sequence[Ids], context: int) -> Floats:
    """The nats of each text, its end included, (N,)."""
    task.eval()
    pieces = [(owner, piece) for owner, ids in enumerate(texts) for piece in cut(ids, context)]
    owners = np.array([owner for owner, _ in pieces], np.int64)
    read, nats = Pieces([piece for _, piece in pieces]), np.zeros(len(texts))
    for batch in read.by_length() if len(read) else []:
        inputs, targets, _ = read[batch]
        np.add.at(nats, owners[batch], task.surprise(inputs, targets).sum(1).numpy())
    return nats


def of_texts(nats: Floats, texts: Sequence[Ids]) -> Floats:
    """The sum of each text's characters, of their nats (M,) in a row."""
    sizes = np.array([len(ids) - 1 for ids in texts])
    return np.add.reduceat(nats, np.cumsum(sizes) - sizes)


def table(texts: Sequence[Ids], nats: Floats) -> pd.DataFrame:
    """Characters, bits per character and the share of unknown characters of each text.

    The end of a text is a character of it.
    """
    counts = np.array([len(ids) - 1 for ids in texts])
    unknown = [float((ids == UNKNOWN).mean()) * len(ids) / max(len(ids) - 2, 1) for ids in texts]
    return pd.DataFrame(
        {
            "characters": counts,
            "bits_per_character": nats / counts / np.log(2),
            "unknown": unknown,
        }
    )


def bits_per_character(table: pd.DataFrame) -> float:
    """The mean over all characters of all texts."""
    return float(np.average(table["bits_per_character"], weights=table["characters"]))
