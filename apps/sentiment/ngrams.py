"""Words, pairs of words and runs of letters, counted as a linear model reads a text."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.preprocessing import normalize

from apps.sentiment.tokenizer import clean, is_sign, split_words

LETTERS = (3, 4, 5)
# Letters of a word that are read: what is longer is no word, but a key or a picture in base64.
_LONGEST = 64


def forms_of(text: str) -> list[str]:
    """The words of a text, as `split_words` writes them."""
    return [word.form for word in split_words(clean(text))]


def ngrams_of(forms: Sequence[str]) -> Iterator[str]:
    """The n-grams of a text's words: words, pairs of neighbours ("not good"), letters ("#^goo").

    Letters are 3 to 5 in a row inside a word, whose ends are marked by ^ and $, without the word as
    a whole; they are read in words that training has never seen, too. The number sign, a word of
    its own to `split_words`, keeps them apart from words. Where each sign is a word, as in Chinese,
    three in a row take their place.
    """
    yield from forms
    yield from (f"{one} {other}" for one, other in itertools.pairwise(forms))
    for form in forms:
        yield from _letters(form)
    for three in zip(forms, forms[1:], forms[2:], strict=False):
        if all(map(_is_sign, three)):
            yield " ".join(three)


_is_sign = functools.lru_cache(maxsize=50_000)(is_sign)


@functools.lru_cache(maxsize=50_000)
def _letters(form: str) -> tuple[str, ...]:
    word = f"^{form[:_LONGEST]}$"
    return tuple(
        f"#{word[i : i + n]}" for n in LETTERS if n < len(word) for i in range(len(word) - n + 1)
    )


@dataclass(frozen=True)
class Ngrams:
    """The n-grams that are known, and how many of `num_texts` training texts hold each.

    >>> known = Ngrams.fit(["good film", "bad film"], min_texts=2, max_size=10)
    >>> known.names[-1], known.texts[-1]
    ('film', 2)
    >>> known.weigh(["film"]).shape
    (1, 10)
    """

    names: tuple[str, ...]
    texts: tuple[int, ...]
    num_texts: int

    @classmethod
    def fit(cls, texts: Iterable[str], min_texts: int, max_size: int) -> Self:
        """Those that stand in `min_texts` texts or more, at most the `max_size` most frequent."""
        found: Counter[str] = Counter()
        number = 0
        for text in texts:
            found.update(set(ngrams_of(forms_of(text))))
            number += 1
        known = [(name, count) for name, count in found.items() if count >= min_texts]
        ranked = sorted(known, key=lambda item: (-item[1], item[0]))[:max_size]
        names = sorted(name for name, _ in ranked)
        return cls(tuple(names), tuple(found[name] for name in names), number)

    def __len__(self) -> int:
        """Number of n-grams."""
        return len(self.names)

    def weigh(self, texts: Iterable[str]) -> sparse.csr_matrix:
        """The weights of the n-grams of each text, (N, len(self)); see `weighted`."""
        found = (self._known(ngrams_of(forms_of(text))) for text in texts)
        return self._weighted(_rows(found, len(self)))

    def weigh_without(self, text: str, places: Sequence[int]) -> sparse.csr_matrix:
        """The weights of a text, and of it without the word at each place, (1 + places, len)."""
        forms = forms_of(text)
        whole = _rows([self._known(ngrams_of(forms))], len(self))
        columns = {int(number): column for column, number in enumerate(whole.indices)}
        counts = np.tile(whole.data, (1 + len(places), 1))
        for row, place in zip(counts[1:], places, strict=True):
            # What reaches over its place goes, too: its neighbours form nothing new.
            before, after = forms[max(place - 2, 0) : place], forms[place + 1 : place + 3]
            gone = self._known(ngrams_of([*before, forms[place], *after]))
            gone.subtract(self._known(ngrams_of(before)))
            gone.subtract(self._known(ngrams_of(after)))
            for number, times in gone.items():
                row[columns[number]] -= times
        ends = np.arange(0, counts.size + 1, len(columns)) if columns else np.zeros(len(counts) + 1)
        numbers = np.tile(whole.indices, len(counts))
        rows = sparse.csr_matrix((counts.ravel(), numbers, ends), (len(counts), len(self)))
        return self._weighted(rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a JSON file."""
        return {"names": list(self.names), "texts": list(self.texts), "num_texts": self.num_texts}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; ValueError for what it cannot have given."""
        names, texts = tuple(map(str, record["names"])), tuple(map(int, record["texts"]))
        if len(names) != len(texts):
            raise ValueError(f"{len(names)} n-grams with {len(texts)} counts")
        return cls(names, texts, int(record["num_texts"]))

    def _known(self, ngrams: Iterable[str]) -> Counter[int]:
        """How often each n-gram that is known stands there, by its number."""
        numbers = self._numbers
        return Counter(numbers[name] for name in ngrams if name in numbers)

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    @functools.cached_property
    def _idf(self) -> NDArray[np.float64]:
        """How rare each n-gram is, log((1 + N) / (1 + n)) + 1, as scikit-learn's smooth idf."""
        return np.log((1 + self.num_texts) / (1 + np.array(self.texts, np.float64))) + 1

    def _weighted(self, counts: sparse.csr_matrix) -> sparse.csr_matrix:
        """Counts times idf, of Euclidean length one; a text without known n-grams stays zero."""
        weights = counts.multiply(self._idf).tocsr()
        return normalize(weights, copy=False) if len(self) else weights


def _rows(counts: Iterable[Counter[int]], width: int) -> sparse.csr_matrix:
    """A sparse row for each text."""
    numbers: list[int] = []
    values: list[int] = []
    ends = [0]
    for row in counts:
        numbers += row.keys()
        values += row.values()
        ends.append(len(numbers))
    found = sparse.csr_matrix(
        (np.array(values, np.float64), np.array(numbers, np.int64), np.array(ends)),
        (len(ends) - 1, width),
    )
    found.sort_indices()
    return found
