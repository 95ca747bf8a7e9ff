"""Words to numbers: a vocabulary of the training texts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from apps.sentiment.tokenizer import clean, split_words

PADDING, UNKNOWN = 0, 1
FIRST = 2

Ids = NDArray[np.int64]
Item = TypeVar("Item")


class Piece(NamedTuple):
    """What has a number: a word, or a part of one.

    word: the whole word as it stands in the text. place: which word of the text it is.
    """

    number: int
    word: str
    place: int


class Vocabulary(ABC):
    """Numbers of the known pieces of text; 0 pads a batch, `unknown` is every other piece."""

    unknown = UNKNOWN

    # Numbers before and after those of a text, which an encoder was trained to see there.
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    # Pieces of a text that an encoder can read.
    limit: int | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Number of numbers, padding and unknown among them."""

    @property
    def num_trained(self) -> int:
        """Number of those with weights of their own."""
        return len(self)

    @property
    @abstractmethod
    def account(self) -> str:
        """What it holds, in two words."""

    @abstractmethod
    def read(self, text: str) -> list[Piece]:
        """The pieces of a text, in order."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a JSON file."""

    def encode(self, text: str, max_length: int) -> Ids:
        """The numbers of a text; the middle of one of more than `max_length` pieces is cut."""
        return self.framed([piece.number for piece in cut(self.read(text), max_length)])

    def framed(self, numbers: Sequence[int]) -> Ids:
        """Numbers of pieces with those before and after; none for none."""
        framed = (*self.before, *numbers, *self.after) if len(numbers) else ()
        return np.array(framed, np.int64)

    def unknown_share(self, ids: Ids) -> float:
        """Share of unknown pieces in an encoded text; 1 for a text without any."""
        pieces = len(ids) - len(self.before) - len(self.after)
        return float((ids == self.unknown).sum() / pieces) if pieces > 0 else 1.0


class WordVocabulary(Vocabulary):
    """Whole words.

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

    @property
    def account(self) -> str:
        """How many words training knows."""
        return f"{len(self.words)} words"

    def read(self, text: str) -> list[Piece]:
        """The words of a text."""
        content = clean(text)
        return [
            Piece(self._numbers.get(word.form, UNKNOWN), content[word.start : word.end], i)
            for i, word in enumerate(split_words(content))
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a JSON file."""
        return {"words": list(self.words), "extra": list(self.extra)}


def cut(words: list[Item], max_length: int) -> list[Item]:
    """The words without the middle of what is longer than `max_length`: ends matter most."""
    if len(words) <= max_length:
        return words
    tail = max_length // 2
    return words[: max_length - tail] + words[len(words) - tail :]


class VocabularySource(ABC):
    """Where a vocabulary comes from.

    takes_vectors: whether words can have pretrained ones. splits_words: whether its words are
    those of `split_words`, of which n-grams are made, too.
    """

    takes_vectors = False
    splits_words = True

    @abstractmethod
    def build(self, texts: Iterable[str], extra: Iterable[str]) -> Vocabulary:
        """The vocabulary of the training texts; `extra` are words known by their vectors."""


@dataclass(frozen=True)
class Words(VocabularySource):
    """The words found at least `min_count` times, at most the `max_size` most frequent."""

    min_count: int = 2
    max_size: int = 30000

    takes_vectors = True

    def __post_init__(self) -> None:
        check_sizes(min_count=self.min_count, max_size=self.max_size)

    def build(self, texts: Iterable[str], extra: Iterable[str] = ()) -> WordVocabulary:
        """The most frequent words first."""
        counts = Counter(word.form for text in texts for word in split_words(clean(text)))
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        words = [word for word, count in ranked[: self.max_size] if count >= self.min_count]
        known = set(words)
        return WordVocabulary(words, [word for word in extra if word not in known])


def check_sizes(**sizes: int) -> None:
    """Raise ValueError for a size below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be >= 1, got {size}")
