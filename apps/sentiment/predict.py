"""Answers for the user's own texts."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pandas as pd

from apps.sentiment.encoding import Encoding
from apps.sentiment.scoring import explain, score
from apps.sentiment.task import SentimentTask
from apps.sentiment.text_reader import Reading

# Above this share of unknown words an answer is a guess.
MANY_UNKNOWN = 0.5


def answer(
    task: SentimentTask, encoding: Encoding, reading: Reading, share: float, texts: Sequence[str]
) -> tuple[pd.DataFrame, str]:
    """Label, its probability, those of all classes and the words that carried it, for each text.

    Ratings have their `score`, too. A text without words has no answer: its cells are empty.
    `unknown` is the share of a text's words (or parts of words) that the network does not know.
    share: of the ridge in an answer. The second value says in a line how it went.
    """
    started = time.perf_counter()
    words = encoding.encode(texts)
    table = reading.table(score(task, words, encoding.weigh(texts)).mixed(share))
    names = reading.classes
    probabilities = table[[f"p_{name}" for name in names]].to_numpy()
    chosen = [names.index(label) for label in table["predicted"]]
    answers = pd.DataFrame(
        {
            "label": table["predicted"],
            "probability": probabilities[np.arange(len(table)), chosen],
            **({"score": table["score"]} if "score" in table else {}),
            **{f"p_{name}": probabilities[:, i] for i, name in enumerate(names)},
            "words": [explain(task, encoding, share, text) for text in texts],
            "unknown": [encoding.vocabulary.unknown_share(numbers) for numbers in words],
        }
    ).astype({"label": object, "words": object})
    silent = np.array([not len(numbers) for numbers in words])
    answers.loc[silent, [name for name in answers if name != "unknown"]] = None
    seconds = time.perf_counter() - started
    return answers, _account(answers, silent, words, encoding.max_length, seconds)


def _account(
    answers: pd.DataFrame,
    silent: np.ndarray,
    words: Sequence[np.ndarray],
    max_length: int,
    seconds: float,
) -> str:
    rate = len(answers) / seconds
    texts = "1 text" if len(answers) == 1 else f"{len(answers)} texts"
    parts = [f"{texts} in {seconds:.1f} s, {rate:.{0 if rate >= 10 else 1}f} a second"]
    if silent.any():
        parts.append(f"without words and an answer: {silent.sum()}")
    long = sum(len(numbers) >= max_length for numbers in words)
    if long:
        parts.append(
            f"too long for the network, the middle left out ({max_length} words are read): {long}"
        )
    guessed = int(((answers["unknown"] > MANY_UNKNOWN) & ~silent).sum())
    if guessed:
        parts.append(f"guesses, since more words are unknown than known: {guessed}")
    return "; ".join(parts)
