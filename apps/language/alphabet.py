"""Characters as numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from apps.errors import UserError

Ids: TypeAlias = NDArray[np.int64]

PADDING, UNKNOWN, END = 0, 1, 2  # END also stands before the first character of a text
_FIRST = 3


@dataclass(frozen=True)
class Alphabet:
    """The characters that a model knows; all others are one unknown character.

    context: characters that are read at once. text: name of the column of texts.
    """

    characters: str
    context: int
    text: str = "text"

    @classmethod
    def of(
        cls, texts: Iterable[str], context: int, text: str, *, least: int, most: int
    ) -> Alphabet:
        """The characters that texts hold `least` times or more, the `most` frequent of them."""
        counts: Counter[str] = Counter()
        for each in texts:
            counts.update(each)
        known = [(-count, sign) for sign, count in counts.items() if count >= least]
        return cls("".join(sorted(sign for _, sign in sorted(known)[:most])), context, text)

    def __len__(self) -> int:
        """Number of numbers: the characters, padding, the unknown character and the end."""
        return _FIRST + len(self.characters)

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        return {sign: number for number, sign in enumerate(self.characters, _FIRST)}

    def encode(self, text: str) -> Ids:
        """The numbers of a text, an end before and after it, int64."""
        known = self._numbers
        return np.array([END, *(known.get(sign, UNKNOWN) for sign in text), END])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a JSON file."""
        return {"characters": self.characters, "context": self.context, "text": self.text}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Alphabet:
        """The inverse of `to_dict`; UserError for a record that is none."""
        try:
            return cls(str(record["characters"]), int(record["context"]), str(record["text"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"data.json of the run holds no alphabet: {error}") from error


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a text that is read at once: numbers, and for each the one that follows.

    Where the target is PADDING another piece of the text has the character.
    """

    inputs: Ids
    targets: Ids


def cut(ids: Ids, context: int) -> Sequence[Piece]:
    """A text as pieces of at most `context` numbers, each character the target of one of them.

    Pieces overlap by half, so that no character but those of the first lacks what went before.
    """
    count = len(ids) - 1
    step, done, pieces = max(context // 2, 1), 0, []
    while done < count:
        start = 0 if done == 0 else min(done - (context - step), count - context)
        stop = min(start + context, count)
        targets = ids[start + 1 : stop + 1].copy()
        targets[: done - start] = PADDING
        pieces.append(Piece(ids[start:stop], targets))
        done = stop
    return pieces
