"""A trained network's scores of texts, and the words that moved them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from apps.sentiment.data import by_length, pad
from apps.sentiment.encoding import Encoding
from apps.sentiment.task import SentimentTask
from apps.sentiment.vocabulary import UNKNOWN, Ids, cut
from apps.sentiment.words import clean, split_words

Floats = NDArray[np.float64]
BATCH = 256
WORDS_SHOWN = 3
LEAST = 0.005  # effects that would print as 0.00


def score(task: SentimentTask, texts: Sequence[Ids]) -> Floats:
    """Ratings (N, 1) or logits of the classes (N, K) of texts."""
    task.eval()
    outputs = np.zeros((len(texts), task.num_classes or 1))
    order = by_length(texts)
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        outputs[chosen] = task.outputs(pad([texts[i] for i in chosen])).numpy()
    return outputs


def explain(task: SentimentTask, encoding: Encoding, text: str, shown: int = WORDS_SHOWN) -> str:
    """The words of a text that carried its score most, such as "great +1.2, not -0.8".

    By occlusion (Zeiler and Fergus 2014): what the score loses when one word becomes unknown.
    The score is the rating, or the logit of the predicted class against the mean of the others.
    """
    content = clean(text)
    words = cut(split_words(content), encoding.max_length)
    numbers = encoding.vocabulary.numbers([word.form for word in words])
    if not len(numbers):
        return ""
    variants = np.tile(numbers, (len(numbers) + 1, 1))
    np.fill_diagonal(variants[1:], UNKNOWN)
    outputs = score(task, list(variants))
    values = outputs[:, 0]
    if task.num_classes is not None:
        chosen = int(outputs[0].argmax())
        others = np.delete(outputs, chosen, axis=1)
        values = outputs[:, chosen] - others.mean(axis=1)
    effects = values[0] - values[1:]
    # An occurrence stands for its word: the strongest one is shown.
    strongest: dict[str, float] = {}
    for i in np.argsort(-np.abs(effects), kind="stable"):
        strongest.setdefault(content[words[i].start : words[i].end].lower(), float(effects[i]))
    top = [(word, effect) for word, effect in strongest.items() if abs(effect) >= LEAST][:shown]
    return ", ".join(f"{word} {effect:+.2f}" for word, effect in top)


def unknown_share(numbers: Ids) -> float:
    """Share of a text's words that are not in the vocabulary; 1 for a text without words."""
    return float((numbers == UNKNOWN).mean()) if len(numbers) else 1.0
