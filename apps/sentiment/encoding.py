"""What a trained run has to know to read another text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from scipy import sparse

from apps.errors import UserError
from apps.sentiment.ngrams import Ngrams
from apps.sentiment.pretrained import EncoderVocabulary
from apps.sentiment.subwords import SubwordVocabulary
from apps.sentiment.vocabulary import Ids, Vocabulary, WordVocabulary


@dataclass(frozen=True)
class Encoding:
    """How texts become numbers, and what the outputs stand for.

    max_length: words, or parts of words, of a text that are read. classes: the labels; None for
    ratings. vector_size: length of the pretrained vectors, 0 without. text: name of the column
    of texts. ngrams: what a ridge beside the network reads, if there is one.
    """

    vocabulary: Vocabulary
    max_length: int
    classes: tuple[str, ...] | None
    vector_size: int
    text: str
    ngrams: Ngrams | None = None

    def encode(self, texts: Iterable[str]) -> list[Ids]:
        """The numbers of each text."""
        return [self.vocabulary.encode(text, self.max_length) for text in texts]

    def weigh(self, texts: Iterable[str]) -> sparse.csr_matrix | None:
        """The weighted n-grams (N, n) of each text, of whatever length; None without a ridge."""
        return None if self.ngrams is None else self.ngrams.weigh(texts)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a JSON file."""
        return {
            "max_length": self.max_length,
            "classes": None if self.classes is None else list(self.classes),
            "vector_size": self.vector_size,
            "text": self.text,
            "vocabulary": self.vocabulary.to_dict(),
            "ngrams": None if self.ngrams is None else self.ngrams.to_dict(),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Encoding:
        """The inverse of `to_dict`; UserError for a record that is none."""
        if not isinstance(record, Mapping) or not record.get("vocabulary"):
            raise UserError("data.json of the run holds no vocabulary: its texts cannot be read")
        try:
            classes, ngrams = record["classes"], record.get("ngrams")
            return cls(
                _read_vocabulary(record["vocabulary"]),
                int(record["max_length"]),
                None if classes is None else tuple(classes),
                int(record["vector_size"]),
                str(record["text"]),
                None if ngrams is None else Ngrams.from_dict(ngrams),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"data.json of the run is not a sentiment encoding: {error}") from error


def _read_vocabulary(record: Mapping[str, Any]) -> Vocabulary:
    """The inverse of `Vocabulary.to_dict`."""
    if "subwords" in record:
        return SubwordVocabulary(record["subwords"])
    if "encoder" in record:
        return EncoderVocabulary(record["encoder"], record["unknown"])
    return WordVocabulary(record["words"], record["extra"])
