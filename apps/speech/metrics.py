"""Errors of recognised texts: of words, characters and sentences, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import jiwer
import numpy as np
import pandas as pd
from numpy.typing import NDArray

Counts = NDArray[np.float64]
NUM_RESAMPLES = 1000
COUNTS = ("hits", "substitutions", "deletions", "insertions")


def count_errors(references: Sequence[str], hypotheses: Sequence[str]) -> pd.DataFrame:
    """Hits, substitutions, deletions and insertions of words (`COUNTS`), a row an utterance.

    `characters` and `character_errors` count the same in characters. References must not be
    empty.
    """
    rows = []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        words = jiwer.process_words(reference, hypothesis)
        letters = jiwer.process_characters(reference, hypothesis)
        wrong = letters.substitutions + letters.deletions + letters.insertions
        counts = {name: getattr(words, name) for name in COUNTS}
        characters = letters.hits + letters.substitutions + letters.deletions
        rows.append({**counts, "characters": characters, "character_errors": wrong})
    return pd.DataFrame(rows)


def scores(counts: pd.DataFrame) -> dict[str, float]:
    """Error rates in percent of all utterances together, from `count_errors`.

    `wer` and `cer` per word and character said, `ser` the share of utterances with an error; with
    `_low` and `_high` the first two's 95 % intervals of a bootstrap over utterances (percentiles
    of 1,000 resamples, Bisani and Ney 2004).
    """
    wrong = counts[["substitutions", "deletions", "insertions"]].sum(axis=1).to_numpy(float)
    said = counts[["hits", "substitutions", "deletions"]].sum(axis=1).to_numpy(float)
    letters, characters = counts["character_errors"], counts["characters"]
    return {
        **_rate("wer", wrong, said),
        **_rate("cer", letters.to_numpy(float), characters.to_numpy(float)),
        "ser": 100 * float(np.mean(wrong > 0)),
    }


def _rate(name: str, wrong: Counts, said: Counts) -> dict[str, float]:
    """A rate in percent and its interval, from errors and units said by utterance."""
    drawn = np.random.default_rng(0).integers(len(said), size=(NUM_RESAMPLES, len(said)))
    rates = wrong[drawn].sum(axis=1) / said[drawn].sum(axis=1)
    low, high = np.percentile(rates, [2.5, 97.5])
    return {
        name: 100 * float(wrong.sum() / said.sum()),
        f"{name}_low": 100 * float(low),
        f"{name}_high": 100 * float(high),
    }
