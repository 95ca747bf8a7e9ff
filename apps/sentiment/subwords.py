"""Parts of words as a vocabulary, by the package tokenizers (optional extra `text`)."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from apps.errors import UserError
from apps.sentiment.tokenizer import clean, split_words
from apps.sentiment.vocabulary import Piece, Vocabulary, VocabularySource, check_sizes

_PADDING, _UNKNOWN = "[PAD]", "[UNK]"


def extra_package(name: str, key: str) -> Any:
    """A package of the extra `text`; UserError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(
            f"{key}: needs the package {name}, which is not installed: "
            "pip install --editable './apps[text]'"
        ) from None


def read_tokenizer(serialised: str) -> Any:
    """A `tokenizers.Tokenizer`, to which "[UNK]" in a text is what somebody wrote."""
    package = extra_package("tokenizers", "vocabulary")
    try:
        tokenizer = package.Tokenizer.from_str(serialised)
    except Exception as error:  # the package raises nothing narrower
        raise ValueError(f"no tokenizer: {error}") from error
    tokenizer.encode_special_tokens = True
    return tokenizer


class SubwordVocabulary(Vocabulary):
    """Parts of the words of the training texts; a letter that they do not have is unknown.

    tokenizer: what `tokenizers.Tokenizer.to_str` gives.
    """

    def __init__(self, tokenizer: str) -> None:
        self.tokenizer = read_tokenizer(tokenizer)

    def __len__(self) -> int:
        """Number of numbers, padding and unknown among them."""
        return int(self.tokenizer.get_vocab_size())

    @property
    def account(self) -> str:
        """How many parts of words there are."""
        return f"{len(self)} subwords"

    def read(self, text: str) -> list[Piece]:
        """The parts of a text's words."""
        content = clean(text)
        words = split_words(content)
        found = self.tokenizer.encode([word.form for word in words], is_pretokenized=True)
        return [
            Piece(number, content[words[place].start : words[place].end], place)
            for number, place in zip(found.ids, found.word_ids, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a JSON file."""
        return {"subwords": self.tokenizer.to_str()}


@dataclass(frozen=True)
class Subwords(VocabularySource):
    """Byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909) within the words.

    max_size: parts of words that are known, single letters among them. min_count: a pair must
    stand so often in the training texts to become one part.
    """

    max_size: int = 8000
    min_count: int = 2

    def __post_init__(self) -> None:
        check_sizes(max_size=self.max_size, min_count=self.min_count)

    def build(self, texts: Iterable[str], extra: Iterable[str]) -> SubwordVocabulary:
        """Learn the parts from the training texts."""
        package = extra_package("tokenizers", "vocabulary=subword")
        tokenizer = package.Tokenizer(package.models.BPE(unk_token=_UNKNOWN))
        # Marks the start of a word by a letter. The library's prefix for the other parts would
        # do, too, but numbers letters in an order that changes from run to run.
        tokenizer.pre_tokenizer = package.pre_tokenizers.Metaspace()
        trainer = package.trainers.BpeTrainer(
            vocab_size=self.max_size,
            min_frequency=self.min_count,
            special_tokens=[_PADDING, _UNKNOWN],  # numbers 0 and 1
            show_progress=False,
        )
        forms = (" ".join(word.form for word in split_words(clean(text))) for text in texts)
        tokenizer.train_from_iterator(forms, trainer)
        return SubwordVocabulary(tokenizer.to_str())
