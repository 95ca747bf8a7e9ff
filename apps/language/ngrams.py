"""A model of character n-grams, interpolated as Witten and Bell 1991 propose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from apps.language.alphabet import END, Ids

Floats: TypeAlias = NDArray[np.float64]
Keys: TypeAlias = NDArray[np.uint64]

LONGEST = 7  # characters before the next that are looked at


class WittenBell:
    """The probability of a character after the k before it, for every k up to `longest`.

    p_k(c | h) = (n(h c) + d(h) p_{k-1}(c | h')) / (n(h) + d(h)) with n the counts in the training
    texts, d(h) how many different characters follow h there, h' all of h but its first one, and
    p_{-1} the same for all characters (I. Witten and T. Bell, "The zero-frequency problem", IEEE
    Transactions on Information Theory 37, 1991, method C).

    size: number of characters. longest: lowered where a context would not fit into 64 bits.
    """

    def __init__(self, texts: Sequence[Ids], size: int, longest: int = LONGEST) -> None:
        self.size = size
        self.longest = min(longest, int(64 / math.log2(size)) - 1)
        self._tables = [_Table(*self._keys(texts, k)) for k in range(self.longest + 1)]

    def nats(self, texts: Sequence[Ids]) -> Floats:
        """-log p_k of every character of the texts, their ends too: (k + 1, N), k from 0."""
        found = []
        likely = np.full(sum(len(ids) - 1 for ids in texts), 1.0 / self.size)
        for k, table in enumerate(self._tables):
            likely = table.interpolate(*self._keys(texts, k), likely)
            found.append(-np.log(likely))
        return np.array(found)

    def _keys(self, texts: Sequence[Ids], k: int) -> tuple[Keys, Keys]:
        """A number for the k characters before each one, and one for these and itself, (N,).

        Before a text there are ends.
        """
        start = np.full(self.longest, END)
        joined = np.concatenate([np.concatenate([start, ids]) for ids in texts]).astype(np.uint64)
        lengths = np.array([len(ids) - 1 for ids in texts])
        firsts = np.cumsum(lengths + 1 + self.longest) - lengths
        skipped = np.cumsum(lengths) - lengths
        places = np.arange(lengths.sum()) + np.repeat(firsts - skipped, lengths)
        context = np.zeros(len(places), np.uint64)
        for back in range(k, 0, -1):
            context = context * np.uint64(self.size) + joined[places - back]
        return context, context * np.uint64(self.size) + joined[places]


class _Table:
    """Counts of contexts, and of contexts with the character after them."""

    def __init__(self, contexts: Keys, grams: Keys) -> None:
        self.grams, first, self.counts = np.unique(grams, return_index=True, return_counts=True)
        self.contexts, self.totals = np.unique(contexts, return_counts=True)
        self.kinds = np.bincount(np.searchsorted(self.contexts, contexts[first]))

    def interpolate(self, contexts: Keys, grams: Keys, shorter: Floats) -> Floats:
        """The probabilities, given those after a context that is shorter by one."""
        count = _found(self.grams, self.counts, grams)
        total = _found(self.contexts, self.totals, contexts)
        kinds = _found(self.contexts, self.kinds, contexts)
        seen = total > 0
        mixed = (count + kinds * shorter) / np.where(seen, total + kinds, 1)
        return np.where(seen, mixed, shorter)


def _found(keys: Keys, values: NDArray[np.int64], wanted: Keys) -> NDArray[np.int64]:
    """The value of each wanted key, 0 where it is none of the sorted keys."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)
