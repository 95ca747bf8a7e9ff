"""Where utterances come from: a set that is fetched, torchaudio's data sets, or a manifest."""

from __future__ import annotations

import zlib
from pathlib import Path

from apps.base.source import DataSet
from apps.base.source import Source as BaseSource
from apps.errors import UserError
from apps.speech.alphabet import Units
from apps.speech.utterances import Corpus, Part, Utterance, read_manifest
from data_scripts.speech import prepare

PARTS: tuple[Part, ...] = ("train", "val", "test")


class Source(BaseSource[Corpus]):
    """Utterances in three parts, the tokens to spell them in, and their language.

    units: `words` for a small vocabulary, `characters` for an open one. language: `en` compares
    with an English recogniser. language_model, dictionary: files that belong to the data, an
    n-gram model in ARPA format and the pronunciations of its words; None where there are none.
    """

    language_model: Path | None = None
    dictionary: Path | None = None

    def __init__(self, units: Units, language: str) -> None:
        self.units: Units = units
        self.language = language


class Prepared(DataSet, Source):
    """A data set that `data_scripts` fetches, checks and converts.

    dataset: its name. dir: folder of all data. mirror: folder to copy raw files from instead of
    downloading them.
    """

    app = "speech"
    obtain = staticmethod(prepare)

    def __init__(
        self,
        dataset: str,
        dir: str,
        mirror: str | None = None,
        units: Units = "words",
        language: str = "en",
    ) -> None:
        Source.__init__(self, units, language)
        DataSet.__init__(self, dataset, dir, mirror)

    def read(self) -> Corpus:
        """Read the converted data set's three manifests."""
        self.language_model = _present(self.folder / f"{self.dataset}.arpa")
        self.dictionary = _present(self.folder / f"{self.dataset}.dict")
        return {part: read_manifest(self.folder / f"{part}.jsonl") for part in PARTS}


def _present(path: Path) -> Path | None:
    return path if path.is_file() else None


class Manifest(Source):
    """The user's own JSON-lines manifest, the format of NVIDIA NeMo.

    path: its file. val_path, test_path: manifests of the other parts; without them
    `val_fraction` and `test_fraction` of the speakers of `path` make these parts, or of the
    utterances where fewer than ten speakers are named.
    """

    def __init__(
        self,
        path: str,
        val_path: str | None = None,
        test_path: str | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        units: Units = "characters",
        language: str = "en",
    ) -> None:
        super().__init__(units, language)
        for name, value in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
            if not 0 < value < 0.5:
                raise ValueError(f"{name}={value}: must be a share between 0 and 0.5")
        self.paths: dict[Part, str | None] = {"train": path, "val": val_path, "test": test_path}
        self.fractions: dict[Part, float] = {"val": val_fraction, "test": test_fraction}

    @property
    def name(self) -> str:
        """The file's name."""
        return Path(str(self.paths["train"])).name

    def read(self) -> Corpus:
        """Read the manifests and split off the parts that have none of their own."""
        found = {part: read_manifest(Path(p)) for part, p in self.paths.items() if p is not None}
        for part, fraction in self.fractions.items():
            if part not in found:
                found["train"], found[part] = _split(found["train"], fraction)
            if not found[part] or not found["train"]:
                raise UserError(f"{self.name}: too few utterances to split off a part {part}")
        return found


def _split(utterances: list[Utterance], share: float) -> tuple[list[Utterance], list[Utterance]]:
    """Utterances apart from about a share of them, whole speakers where there are ten or more.

    Which ones depends on their names alone, so that a part stays when utterances are added.
    """
    by_speaker = len({utterance.speaker for utterance in utterances}) >= 10
    names = [u.speaker if by_speaker else str(u.path) for u in utterances]
    order = sorted(set(names), key=lambda name: (zlib.crc32(name.encode()), name))
    chosen = set(order[: max(1, round(share * len(order)))])
    kept = [u for u, name in zip(utterances, names, strict=True) if name not in chosen]
    apart = [u for u, name in zip(utterances, names, strict=True) if name in chosen]
    return kept, apart
