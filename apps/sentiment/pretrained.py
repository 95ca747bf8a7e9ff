"""A pretrained encoder that the user has in a folder, by transformers (optional extra `text`)."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from apps.base.torchaudio_import import import_torchaudio
from apps.errors import UserError
from apps.sentiment.layers import Pool, Pooling
from apps.sentiment.subwords import extra_package, read_tokenizer
from apps.sentiment.tokenizer import clean
from apps.sentiment.vocabulary import (
    FIRST,
    PADDING,
    Piece,
    Vocabulary,
    VocabularySource,
)


def _load(kind: str, path: str) -> Any:
    """What transformers' `Auto<kind>` reads from a folder, never from the network."""
    package = extra_package("transformers", "model=pretrained")
    if not Path(path).is_dir():
        raise UserError(f"model.path={path}: no such folder")
    package.utils.logging.set_verbosity_error()
    package.utils.logging.disable_progress_bar()
    _prepare_torchaudio()
    try:
        return getattr(package, f"Auto{kind}").from_pretrained(path, local_files_only=True)
    except Exception as error:  # damaged files can fail anywhere in the package
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"model.path={path}: holds no encoder: {first}") from error


def _prepare_torchaudio() -> None:
    """Have torchaudio imported where it is installed, as transformers does when it reads text."""
    if importlib.util.find_spec("torchaudio") is not None:
        import_torchaudio()


class EncoderVocabulary(Vocabulary):
    """The parts of words that an encoder knows, each two numbers higher than there.

    tokenizer: what `tokenizers.Tokenizer.to_str` gives. unknown: its number of what it does not
    know. most: numbers that it reads at once, those around a text among them.
    """

    def __init__(self, tokenizer: str, unknown: int, most: int | None = None) -> None:
        self.tokenizer = read_tokenizer(tokenizer)
        self.unknown = FIRST + unknown
        frame = self.tokenizer.encode("a")
        inside = [i for i, place in enumerate(frame.word_ids) if place is not None]
        numbers = [FIRST + number for number in frame.ids]
        self.before = tuple(numbers[: inside[0]])
        self.after = tuple(numbers[inside[-1] + 1 :])
        self.limit = None if most is None else most - len(self.before) - len(self.after)

    def __len__(self) -> int:
        """Number of numbers, padding and unknown among them."""
        return FIRST + int(self.tokenizer.get_vocab_size())

    @property
    def num_trained(self) -> int:
        """None has weights of its own: those are the encoder's."""
        return 0

    @property
    def account(self) -> str:
        """How many parts of words there are."""
        return f"{len(self) - FIRST} subwords of the encoder"

    def read(self, text: str) -> list[Piece]:
        """The parts of a text's words, as the encoder's own tokenizer finds them."""
        content = clean(text)
        found = self.tokenizer.encode(content, add_special_tokens=False)
        spans: dict[int, tuple[int, int]] = {}
        for place, (start, end) in zip(found.word_ids, found.offsets, strict=True):
            first, _ = spans.setdefault(place, (start, end))
            spans[place] = (first, end)
        return [
            Piece(FIRST + number, content[slice(*spans[place])].strip(), place)
            for number, place in zip(found.ids, found.word_ids, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a JSON file."""
        return {"encoder": self.tokenizer.to_str(), "unknown": self.unknown - FIRST}


@dataclass(frozen=True)
class EncoderWords(VocabularySource):
    """The vocabulary of the encoder in a folder; training texts change nothing."""

    path: str

    splits_words = False

    def build(self, texts: Iterable[str], extra: Iterable[str]) -> EncoderVocabulary:
        """Read the encoder's tokenizer."""
        tokenizer = _load("Tokenizer", self.path)
        positions = getattr(_load("Config", self.path), "max_position_embeddings", None)
        most = min(tokenizer.model_max_length, positions or tokenizer.model_max_length)
        if tokenizer.unk_token_id is None:
            raise UserError(f"model.path={self.path}: its tokenizer has no unknown token")
        serialised = tokenizer.backend_tokenizer.to_str()
        return EncoderVocabulary(serialised, tokenizer.unk_token_id, most)


class Pretrained(nn.Module):
    """An encoder with pooling and a linear output on top.

    path: folder of the encoder. frozen: only pooling and output learn. num_words, num_trained
    and vector_size are those of all networks; ValueError unless they are of the encoder's own
    vocabulary.
    """

    def __init__(
        self,
        num_words: int,
        num_trained: int,
        vector_size: int,
        num_outputs: int,
        path: str,
        frozen: bool = True,
        pooling: Pooling = "attention",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be a share in [0, 1), got {dropout}")
        self.encoder = _load("Model", path)
        config = self.encoder.config
        if num_trained or num_words > FIRST + config.vocab_size:
            raise ValueError("an encoder reads its own vocabulary; allowed: vocabulary=pretrained")
        self.frozen = frozen
        self.encoder.requires_grad_(not frozen)
        # Some encoders have no number for padding, which the mask hides, or for what is unknown.
        self.padding: int = getattr(config, "pad_token_id", None) or 0
        self.pool = Pool(config.hidden_size, pooling)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(self.pool.out_size, num_outputs)

    def forward(self, words: Tensor) -> Tensor:
        """Outputs (B, K) of texts (B, L); padding changes nothing."""
        present = words != PADDING
        numbers = torch.where(present, (words - FIRST).clamp(min=0), self.padding)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            found = self.encoder(input_ids=numbers, attention_mask=present.long())
        out: Tensor = self.output(self.dropout(self.pool(found.last_hidden_state, present)))
        return out

    def train(self, mode: bool = True) -> Self:
        """Training mode, in which a frozen encoder drops nothing."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self
