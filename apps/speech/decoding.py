"""From a network's probabilities to text: greedy, or a beam search with a language model."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from torch import Tensor

from apps.errors import UserError
from apps.speech.alphabet import BLANK, Alphabet

_BLANK_TOKEN, _SPACE_TOKEN = "<blank>", "|"


@dataclass(frozen=True, slots=True)
class Spoken:
    """A word and the frames in which it was recognised, the end not included."""

    word: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A recognised text and its words in time."""

    text: str
    words: tuple[Spoken, ...]


class Decoder(ABC):
    """Decodes the log-probabilities (T, V) of one utterance, on the CPU."""

    def prepare(self, alphabet: Alphabet) -> None:
        """Load what decoding needs, so that a mistake shows before any training."""
        return

    @abstractmethod
    def __call__(self, log_probabilities: Tensor, alphabet: Alphabet) -> Hypothesis:
        """The text, with the frames of its words."""


class Greedy(Decoder):
    """The best output of each frame; repetitions are joined and blanks left out."""

    def __call__(self, log_probabilities: Tensor, alphabet: Alphabet) -> Hypothesis:
        """The text, with the frames of its words."""
        best = log_probabilities.argmax(-1).tolist()
        emitted, at = [], 0
        for output, run in groupby(best):
            end = at + len(list(run))
            if output != BLANK:
                emitted.append((output, at, end))
            at = end
        return _hypothesis(emitted, alphabet)


class Beam(Decoder):
    """Flashlight's beam search (Kahn et al. 2022, arXiv:2201.12465) through torchaudio.

    beam_size: hypotheses kept in a frame. lm: file of a KenLM n-gram model over words, ARPA or
    binary; characters then spell the words of an ARPA model and no others. lm_weight: of its
    score. word_score: added for each word.
    """

    def __init__(
        self,
        beam_size: int = 50,
        lm: str | None = None,
        lm_weight: float = 1.0,
        word_score: float = 0.0,
    ) -> None:
        if beam_size < 1:
            raise ValueError(f"beam_size must be >= 1, got {beam_size}")
        self.beam_size = beam_size
        self.lm = lm
        self.lm_weight = lm_weight
        self.word_score = word_score
        self._made: tuple[Alphabet, Any] | None = None

    def prepare(self, alphabet: Alphabet) -> None:
        """Load the language model; UserError for a file that is none."""
        if self._made is None or self._made[0] != alphabet:
            self._made = alphabet, self._make(alphabet)

    def __call__(self, log_probabilities: Tensor, alphabet: Alphabet) -> Hypothesis:
        """The text, with each word's first and last emission."""
        self.prepare(alphabet)
        assert self._made is not None
        best = self._made[1](log_probabilities[None].contiguous())[0]
        if not best:
            return Hypothesis("", ())
        # Flashlight counts a frame of silence before the first one.
        times = best[0].timesteps.tolist()
        emitted = [
            (output, at - 1, at)
            for output, at in zip(best[0].tokens.tolist(), times, strict=False)
            if output != BLANK
        ]
        return _hypothesis(emitted, alphabet)

    def _make(self, alphabet: Alphabet) -> Any:
        from torchaudio.models.decoder import ctc_decoder

        if self.lm is not None and not Path(self.lm).is_file():
            raise UserError(f"decoder.lm={self.lm}: no such file")
        tokens = [_BLANK_TOKEN, *(t if t != " " else _SPACE_TOKEN for t in alphabet.tokens)]
        spaced = _SPACE_TOKEN in tokens
        options = {
            "tokens": tokens,
            "lm": self.lm,
            "beam_size": self.beam_size,
            "lm_weight": self.lm_weight if self.lm else 0.0,
            "word_score": self.word_score,
            "blank_token": _BLANK_TOKEN,
            "sil_token": _SPACE_TOKEN if spaced else _BLANK_TOKEN,
            "log_add": True,
        }
        with tempfile.TemporaryDirectory() as folder:
            lexicon = None
            if self.lm is not None and alphabet.units == "characters":
                lexicon = Path(folder) / "lexicon.txt"
                lexicon.write_text(_lexicon(Path(self.lm), alphabet), encoding="utf-8")
            try:
                with _quiet():
                    return ctc_decoder(lexicon=None if lexicon is None else str(lexicon), **options)
            except RuntimeError as error:
                # KenLM begins with where in its sources it stopped.
                reason = str(error).partition(" threw ")[2] or str(error)
                raise UserError(f"decoder.lm={self.lm}: not a language model: {reason}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep KenLM, which is no Python, from telling of its progress on stderr."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _lexicon(lm: Path, alphabet: Alphabet) -> str:
    """The words of an ARPA file that the alphabet can spell, as flashlight reads them."""
    try:
        text = lm.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"decoder.lm={lm}: characters need a model in ARPA format") from error
    unigrams = text.partition("\\1-grams:")[2].partition("\\")[0]
    words = re.findall(r"^-?[\d.]+\s+(\S+)", unigrams, flags=re.M)
    known = set(alphabet.tokens)
    spelt = [word for word in words if set(word) <= known]
    if not spelt:
        raise UserError(f"decoder.lm={lm}: has no word that the alphabet can spell")
    end = f" {_SPACE_TOKEN}" if " " in known else ""
    return "".join(f"{word} {' '.join(word)}{end}\n" for word in spelt)


def _hypothesis(emitted: list[tuple[int, int, int]], alphabet: Alphabet) -> Hypothesis:
    """Words in time from emitted outputs with their first frame and the one after the last."""
    words: list[Spoken] = []
    pieces: list[tuple[str, int, int]] = []
    for output, start, end in emitted:
        token = alphabet.tokens[output - 1]
        if alphabet.units == "words":
            words.append(Spoken(token, start, end))
        elif token == " ":
            words += _word(pieces)
            pieces = []
        else:
            pieces.append((token, start, end))
    words += _word(pieces)
    return Hypothesis(" ".join(spoken.word for spoken in words), tuple(words))


def _word(pieces: list[tuple[str, int, int]]) -> list[Spoken]:
    """The word that characters make; none where there are none."""
    if not pieces:
        return []
    return [Spoken("".join(piece for piece, _, _ in pieces), pieces[0][1], pieces[-1][2])]
