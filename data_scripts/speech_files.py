"""Archives of recordings read in memory, and utterances written as NeMo's manifests."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from data_scripts.files import replacing
from data_scripts.manifest import DataError, sha256
from data_scripts.unpacking import members

PARTS = ("train", "val", "test")
Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Recording:
    """One utterance to be written: mono samples in [-1, 1], a plain name, what is said."""

    part: str
    name: str
    samples: Samples
    rate: int
    text: str
    speaker: str


def read_archive(path: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """The wanted files of a tar archive, by their path below its top folder.

    Everything stays in memory, so nothing can be written outside a folder; links are left out.
    Raises DataError for an archive that cannot be read.
    """
    found = {}
    try:
        with tarfile.open(path) as archive:
            for member in members(archive, path):
                name = member.name.partition("/")[2]
                if member.isfile() and wanted(name):
                    stream = archive.extractfile(member)
                    found[name] = stream.read() if stream else b""
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    return found


def digest(files: dict[str, bytes]) -> str:
    """SHA-256 over the paths and contents of files, whatever archive they came in."""
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(f"{name} {hashlib.sha256(files[name]).hexdigest()}\n".encode())
    return whole.hexdigest()


def read_checked(path: Path, wanted: Callable[[str], bool], expected: str) -> dict[str, bytes]:
    """The wanted files of an archive if they are the expected ones.

    Else DataError; the archive is removed, so that the next attempt fetches it again.
    """
    try:
        files = read_archive(path, wanted)
        found = digest(files)
        if found != expected:
            raise DataError(f"{path.name}: SHA-256 of its content is {found}, expected {expected}")
    except DataError:
        path.unlink(missing_ok=True)
        raise
    return files


def decode(content: bytes) -> tuple[Samples, int]:
    """Samples and rate of an audio file in memory; DataError when it is damaged."""
    try:
        samples, rate = soundfile.read(io.BytesIO(content), dtype="float64")
    except soundfile.SoundFileError as error:
        raise DataError(f"audio that cannot be read ({error})") from None
    return samples, int(rate)


def write_utterances(recordings: Iterable[Recording], folder: Path) -> dict[str, str]:
    """Write `audio/<name>.flac` and one `<part>.jsonl` each; return all files with SHA-256.

    A line has `audio_filepath` (relative to the folder), `duration` in seconds, `text` and
    `speaker`: the manifest that NVIDIA NeMo reads.
    """
    files: dict[str, str] = {}
    lines: dict[str, list[str]] = {part: [] for part in PARTS}
    for item in recordings:
        where = f"audio/{item.name}.flac"
        with replacing(folder / where) as temporary:
            soundfile.write(temporary, item.samples, item.rate, format="FLAC", subtype="PCM_16")
            files[where] = sha256(temporary)
        line = {
            "audio_filepath": where,
            "duration": round(len(item.samples) / item.rate, 4),
            "text": item.text,
            "speaker": item.speaker,
        }
        lines[item.part].append(json.dumps(line, ensure_ascii=False))
    for part, content in lines.items():
        with replacing(folder / f"{part}.jsonl") as temporary:
            temporary.write_text("\n".join(content) + "\n", encoding="utf-8")
            files[f"{part}.jsonl"] = sha256(temporary)
    return files
