"""Words to numbers: a vocabulary of the training texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from apps.sentiment.words import clean, split_words

PADDING, UNKNOWN = 0, 1
FIRST = 2

Ids = NDArray[np.int64]
Item = TypeVar("Item")


class Vocabulary:
    """Numbers of the known words; 0 pads a batch and 1 is every other word.

    words: those of the training texts, which have weights of their own, from number 2 on.
    extra: those after them, which only pretrained vectors know.
    """

    def __init__(self, words: Sequence[str], extra: Sequence[str] = ()) -> None:
        self.words = tuple(words)
        self.extra = tuple(extra)
        self._numbers = {word: FIRST + i for i, word in enumerate((*words, *extra))}

    def __len__(self) -> int:
        """Number of numbers, padding and unknown among them."""
        return FIRST + len(self._numbers)

    @property
    def num_trained(self) -> int:
        """Number of those with weights of their own."""
        return FIRST + len(self.words)

    def encode(self, text: str, max_length: int) -> Ids:
        """The numbers of a text's words; the middle of a text longer than `max_length` is cut."""
        return self.numbers(cut([word.form for word in split_words(clean(text))], max_length))

    def numbers(self, forms: Sequence[str]) -> Ids:
        """The numbers of words, (L,)."""
        return np.fromiter((self._numbers.get(form, UNKNOWN) for form in forms), np.int64)


def cut(words: list[Item], max_length: int) -> list[Item]:
    """The words without the middle of what is longer than `max_length`: ends matter most."""
    if len(words) <= max_length:
        return words
    tail = max_length // 2
    return words[: max_length - tail] + words[len(words) - tail :]


def build_vocabulary(
    texts: Iterable[str], min_count: int, max_size: int, extra: Iterable[str] = ()
) -> Vocabulary:
    """The words found at least `min_count` times in the texts, the most frequent first."""
    counts = Counter(word.form for text in texts for word in split_words(clean(text)))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    words = [word for word, count in ranked[:max_size] if count >= min_count]
    known = set(words)
    return Vocabulary(words, [word for word in extra if word not in known])
