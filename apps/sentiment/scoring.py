"""A trained network's scores of texts, and the words that moved them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from apps.sentiment.data import by_length, pad
from apps.sentiment.encoding import Encoding
from apps.sentiment.mixture import Scores
from apps.sentiment.task import SentimentTask
from apps.sentiment.vocabulary import Ids, Piece, cut

Floats = NDArray[np.float64]
BATCH = 256
WORDS_SHOWN = 3
LEAST = 0.005  # effects that would print as 0.00


def score(
    task: SentimentTask, texts: Sequence[Ids], ngrams: sparse.csr_matrix | None = None
) -> Scores:
    """The scores of texts, given as numbers of words and, for a ridge, as weighted n-grams."""
    ridge = None if task.ridge is None else task.ridge.scores(ngrams)
    return Scores(_network(task, texts), ridge)


def _network(task: SentimentTask, texts: Sequence[Ids]) -> Floats:
    task.eval()
    outputs = np.zeros((len(texts), task.num_classes or 1))
    order = by_length(texts)
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        outputs[chosen] = task.outputs(pad([texts[i] for i in chosen])).numpy()
    return outputs


def explain(
    task: SentimentTask, encoding: Encoding, share: float, text: str, shown: int = WORDS_SHOWN
) -> str:
    """The words of a text that carried its score most, such as "great +1.2, not -0.8".

    By occlusion (Zeiler and Fergus 2014): what the score loses when one word, with all its
    parts, becomes unknown to the network and is absent for the ridge, whose share is given. The
    score is the rating, or the logit of the predicted class against the mean of the others.
    """
    pieces = cut(encoding.vocabulary.read(text), encoding.max_length)
    if not pieces:
        return ""
    words = {piece.place: piece.word.lower() for piece in pieces}
    known = encoding.ngrams
    ngrams = None if known is None else known.weigh_without(text, list(words))
    outputs = score(task, _variants(encoding, pieces), ngrams).mixed(share)
    values = outputs[:, 0]
    if task.num_classes is not None:
        chosen = int(outputs[0].argmax())
        others = np.delete(outputs, chosen, axis=1)
        values = outputs[:, chosen] - others.mean(axis=1)
    effects = values[0] - values[1:]
    # An occurrence stands for its word: the strongest one is shown.
    named = list(words.values())
    strongest: dict[str, float] = {}
    for i in np.argsort(-np.abs(effects), kind="stable"):
        strongest.setdefault(named[i], float(effects[i]))
    top = [(word, effect) for word, effect in strongest.items() if abs(effect) >= LEAST][:shown]
    return ", ".join(f"{word} {effect:+.2f}" for word, effect in top)


def _variants(encoding: Encoding, pieces: Sequence[Piece]) -> list[Ids]:
    """The text, and the text without each of its words."""
    known, unknown = encoding.vocabulary.framed, encoding.vocabulary.unknown
    numbers = np.array([piece.number for piece in pieces])
    places = np.array([piece.place for piece in pieces])
    without = [np.where(places == place, unknown, numbers) for place in dict.fromkeys(places)]
    return [known(variant.tolist()) for variant in (numbers, *without)]
