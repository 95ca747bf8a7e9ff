"""Speech Commands and LibriSpeech through `torchaudio.datasets`, which fetch and check them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torchaudio import datasets

from apps.errors import UserError
from apps.speech.alphabet import Units
from apps.speech.sources import PARTS, Source
from apps.speech.utterances import Corpus, Part, Utterance, normalize


class SpeechCommands(Source):
    """Single spoken words by 2,618 people, 16 kHz (Warden 2018, arXiv:1804.03209).

    dir: folder of all data. download: false reads a copy that is there.
    """

    def __init__(
        self, dir: str, download: bool = True, units: Units = "words", language: str = "en"
    ) -> None:
        super().__init__(units, language)
        self.root = Path(dir) / "speech"
        self.download = download

    @property
    def name(self) -> str:
        """The data set's name."""
        return "speech_commands"

    def fetch(self) -> None:
        """Download the archive, checked by SHA-256, unless it is there."""
        _fetched(self.name, self._part, "train")

    def read(self) -> Corpus:
        """The three official parts."""
        return {part: list(self._read(part)) for part in PARTS}

    def _read(self, part: Part) -> Iterable[Utterance]:
        data = self._part(part)
        for number in range(len(data)):
            path, _, word, speaker, _ = data.get_metadata(number)
            yield Utterance(self.root / "SpeechCommands" / path, normalize(word), speaker)

    def _part(self, part: Part) -> Any:
        subset = {"train": "training", "val": "validation", "test": "testing"}[part]
        self.root.mkdir(parents=True, exist_ok=True)
        return datasets.SPEECHCOMMANDS(self.root, download=self.download, subset=subset)


class LibriSpeech(Source):
    """Read English books, 16 kHz (Panayotov et al. 2015), official parts.

    dir: folder of all data. train, val, test: names of the parts. download: false reads a copy
    that is there.
    """

    def __init__(
        self,
        dir: str,
        train: str = "train-clean-100",
        val: str = "dev-clean",
        test: str = "test-clean",
        download: bool = True,
        units: Units = "characters",
        language: str = "en",
    ) -> None:
        super().__init__(units, language)
        self.root = Path(dir) / "speech"
        self.subsets: dict[Part, str] = {"train": train, "val": val, "test": test}
        self.download = download

    @property
    def name(self) -> str:
        """The data set's name."""
        return "librispeech"

    def fetch(self) -> None:
        """Download the archives, checked by SHA-256, unless they are there."""
        for part in PARTS:
            _fetched(self.name, self._part, part)

    def read(self) -> Corpus:
        """The chosen parts."""
        return {part: list(self._read(part)) for part in PARTS}

    def _read(self, part: Part) -> Iterable[Utterance]:
        data = self._part(part)
        for number in range(len(data)):
            path, _, text, speaker, _, _ = data.get_metadata(number)
            yield Utterance(self.root / "LibriSpeech" / path, normalize(text), str(speaker))

    def _part(self, part: Part) -> Any:
        self.root.mkdir(parents=True, exist_ok=True)
        return datasets.LIBRISPEECH(self.root, self.subsets[part], download=self.download)


def _fetched(name: str, open_part: Callable[[Part], Any], part: Part) -> None:
    """Open a part, which downloads what is missing; every failure in one line."""
    try:
        open_part(part)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{name}: cannot be fetched or read: {error}") from error
