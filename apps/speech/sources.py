"""Where utterances come from: a set that is fetched, torchaudio's data sets, or a manifest."""

from __future__ import annotations

import zlib
from pathlib import Path

from apps.base.source import DataSet
from apps.base.source import Source as BaseSource
from apps.errors import UserError
from apps.speech.alphabet import Units
from apps.speech.layouts import read_layout
from apps.speech.manifest import read_manifest
from apps.speech.utterances import Corpus, Part, Utterance
from apps.tables.reading import Reading
from data_scripts.speech import prepare

PARTS: tuple[Part, ...] = ("train", "val", "test")
_LEAST_UNITS = 10  # speakers or recordings from which whole ones make a part


class Source(BaseSource[Corpus]):
    """Utterances in three parts, the tokens to spell them in, and their language.

    units: `words` for a small vocabulary, `characters` for an open one, None for what suits the
    training transcripts (see `fit_alphabet`). language: `en` compares with an English recogniser.
    language_model, dictionary: files that belong to the data, an n-gram model in ARPA format and
    the pronunciations of its words; None where there are none. found: how the files are laid out
    and divided, after `read`; "" where that is known.
    """

    language_model: Path | None = None
    dictionary: Path | None = None
    found: str = ""

    def __init__(self, units: Units | None, language: str) -> None:
        self.units = units
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
    """The user's own recordings: a manifest, or the folder of a corpus (see `read_layout`).

    path: where they are. val_path, test_path: those of the other parts; without them, and where
    the corpus has no parts of its own, `val_fraction` and `test_fraction` of `path` make these
    parts: whole speakers where ten or more are named, else whole recordings where there are ten
    or more, else segments. columns, sep, encoding, sheet: of manifests that are tables, see
    `Reading`.
    """

    def __init__(
        self,
        path: str,
        val_path: str | None = None,
        test_path: str | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        units: Units | None = None,
        language: str = "en",
        columns: list[str] | None = None,
        sep: str | None = None,
        encoding: str | None = None,
        sheet: str | None = None,
    ) -> None:
        super().__init__(units, language)
        self.reading = Reading(columns, sep, encoding=encoding, sheet=sheet)
        for name, value in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
            if not 0 < value < 0.5:
                raise ValueError(f"{name}={value}: must be a share between 0 and 0.5")
        self.path = path
        self.others: dict[Part, str | None] = {"val": val_path, "test": test_path}
        self.fractions: dict[Part, float] = {"val": val_fraction, "test": test_fraction}

    @property
    def name(self) -> str:
        """The name of the file or folder."""
        return Path(self.path).name

    def read(self) -> Corpus:
        """Read what there is, and split off the parts that have none of their own."""
        layout = read_layout(Path(self.path), self.reading)
        found = dict(layout.parts)
        self.found = layout.name
        for part, path in self.others.items():
            if path is not None:
                found[part] = read_layout(Path(path), self.reading).utterances
        for part, fraction in self.fractions.items():
            if part not in found:
                found["train"], found[part], unit = _split(found["train"], fraction)
                self.found += f"; {part} split off by {unit}"
            if not found[part] or not found["train"]:
                raise UserError(f"{self.name}: too few utterances to split off a part {part}")
        return found


def _split(
    utterances: list[Utterance], share: float
) -> tuple[list[Utterance], list[Utterance], str]:
    """Utterances apart from about a share of them, and what was kept together.

    Which ones depends on their names alone, so that a part stays when utterances are added.
    """
    unit, names = _units(utterances)
    order = sorted(set(names), key=lambda name: (zlib.crc32(name.encode()), name))
    chosen = set(order[: max(1, round(share * len(order)))])
    kept = [u for u, name in zip(utterances, names, strict=True) if name not in chosen]
    apart = [u for u, name in zip(utterances, names, strict=True) if name in chosen]
    return kept, apart, unit


def _units(utterances: list[Utterance]) -> tuple[str, list[str]]:
    """What must not be divided between parts, and the name of it for each utterance."""
    speakers = [utterance.speaker for utterance in utterances]
    recordings = [str(utterance.path) for utterance in utterances]
    for unit, names in (("speaker", speakers), ("recording", recordings)):
        if len(set(names)) >= _LEAST_UNITS:
            return unit, names
    return "segment", [f"{u.path} {u.offset}" for u in utterances]
