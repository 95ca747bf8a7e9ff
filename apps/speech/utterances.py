"""Utterances and the JSON-lines manifests that list them, in the format of NVIDIA NeMo."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from apps.errors import UserError

Part = Literal["train", "val", "test"]
AUDIO = frozenset({".wav", ".flac", ".ogg", ".mp3"})


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording: its file, what is said in lower case ("" if unknown), and who says it.

    `duration` in seconds, where a manifest tells it.
    """

    path: Path
    text: str = ""
    speaker: str = ""
    duration: float | None = None


Corpus = Mapping[Part, list[Utterance]]


def normalize(text: str) -> str:
    """Lower case, with one blank between words."""
    return " ".join(text.lower().split())


def read_manifest(path: Path, *, transcribed: bool = True) -> list[Utterance]:
    """The utterances of a manifest; paths in it are relative to its folder.

    A line is a JSON object with `audio_filepath`, `text` and optionally `duration` and
    `speaker`. Raises UserError naming file and line for anything else, and for an empty text
    when `transcribed`.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(f"{path}: {reason or error}") from error
    found = []
    for where, line in _lines(path, content):
        text = normalize(str(line.get("text", "")))
        if transcribed and not text:
            raise UserError(f"{where}: empty transcript (text)")
        audio = path.parent / str(line["audio_filepath"])
        duration = _duration(where, line)
        found.append(Utterance(audio, text, str(line.get("speaker", "")), duration))
    if not found:
        raise UserError(f"{path}: holds no utterances")
    return found


def _lines(path: Path, content: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, text in enumerate(content.splitlines(), start=1):
        if not text.strip():
            continue
        where = f"{path}, line {number}"
        try:
            line = json.loads(text)
        except ValueError as error:
            raise UserError(f"{where}: not JSON ({error})") from error
        if not isinstance(line, dict) or not line.get("audio_filepath"):
            raise UserError(f"{where}: must be an object with audio_filepath and text")
        yield where, line


def _duration(where: str, line: dict[str, Any]) -> float | None:
    value = line.get("duration")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise UserError(f"{where}: duration={value!r}: must be a number of seconds > 0")
    return float(value)


def find_audio(source: Path) -> list[Utterance]:
    """The utterances of an audio file, of all audio files below a folder, or of a manifest.

    Raises UserError when there are none.
    """
    if source.is_dir():
        files = sorted(p for p in source.rglob("*") if p.suffix.lower() in AUDIO and p.is_file())
        if not files:
            kinds = ", ".join(sorted(AUDIO))
            raise UserError(f"input={source}: no audio files in it ({kinds})")
        return [Utterance(path) for path in files]
    if source.suffix.lower() in AUDIO:
        return [Utterance(source)]
    return read_manifest(source, transcribed=False)
