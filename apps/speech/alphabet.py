"""The tokens of a recogniser: words of a small vocabulary, or characters."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from apps.speech.utterances import Utterance

Units = Literal["words", "characters"]
BLANK = 0
# What a small vocabulary is: a word that is rarely said is better spelt than learnt whole.
MAX_WORDS, TIMES_SAID = 100, 10


@dataclass(frozen=True, slots=True)
class Alphabet:
    """Tokens of a network's outputs 1, 2, ...; output 0 is the blank of CTC."""

    units: Units
    tokens: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.units not in get_args(Units):
            allowed = ", ".join(get_args(Units))
            raise ValueError(f"units must be one of {allowed}, got {self.units!r}")

    @property
    def size(self) -> int:
        """Number of outputs, the blank among them."""
        return len(self.tokens) + 1

    def encode(self, text: str) -> list[int]:
        """The outputs that spell a text; what is not in the alphabet is left out."""
        places = {token: i for i, token in enumerate(self.tokens, start=BLANK + 1)}
        return [places[piece] for piece in self.split(text) if piece in places]

    def unknown(self, text: str) -> list[str]:
        """The tokens of a text that are not in the alphabet, in its order."""
        return [piece for piece in self.split(text) if piece not in self.tokens]

    def split(self, text: str) -> Sequence[str]:
        """A text in tokens."""
        return text.split() if self.units == "words" else text

    def join(self, outputs: Iterable[int]) -> str:
        """The text that outputs spell; blanks are left out."""
        pieces = [self.tokens[i - 1] for i in outputs if i != BLANK]
        return " ".join((" " if self.units == "words" else "").join(pieces).split())


def least_frames(outputs: Sequence[int]) -> int:
    """Frames that CTC needs for outputs: one each, and a blank between equal neighbours."""
    repeats = sum(a == b for a, b in itertools.pairwise(outputs))
    return len(outputs) + repeats


def fit_alphabet(utterances: Iterable[Utterance], units: Units | None = None) -> Alphabet:
    """The tokens that the transcripts are made of, in alphabetical order.

    units: None chooses `words` for a small vocabulary: at most 100 different words, which are said
    ten times each on average; else `characters`.
    """
    texts = [utterance.text for utterance in utterances]
    if units is None:
        units = _suited_units(texts)
    pieces = {piece for text in texts for piece in (text.split() if units == "words" else text)}
    return Alphabet(units, tuple(sorted(pieces)))


def _suited_units(texts: Sequence[str]) -> Units:
    words = [word for text in texts for word in text.split()]
    vocabulary = set(words)
    is_small = len(vocabulary) <= MAX_WORDS and len(words) >= TIMES_SAID * len(vocabulary)
    return "words" if is_small else "characters"
