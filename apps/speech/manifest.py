"""Manifests of utterances: JSON lines as NVIDIA NeMo has them, or a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from apps.errors import UserError
from apps.speech.utterances import Utterance, as_seconds, as_text, normalize

TABLES = (".csv", ".tsv")
# What the fields of an utterance are called: NeMo, Hugging Face, Common Voice, DeepSpeech.
_AUDIO = ("audio_filepath", "audio", "path", "file", "wav_filename", "filename")
_TEXT = ("text", "sentence", "transcript", "transcription")
_SPEAKER = ("speaker", "speaker_id", "client_id")

Row = Mapping[str, Any]


def read_manifest(path: Path, *, transcribed: bool = True) -> list[Utterance]:
    """The utterances of a manifest; paths in it are relative to its folder.

    A line is a JSON object with `audio_filepath` and `text`, and optionally `speaker`, `duration`
    and `offset` (seconds; they cut a segment out of a recording). A CSV or TSV file has the same
    as columns. Raises UserError naming file and line for anything else, and for an empty text
    when `transcribed`.
    """
    rows = _table(path) if path.suffix.lower() in TABLES else _json_lines(path)
    found = [_utterance(path, where, row, transcribed) for where, row in rows]
    if not found:
        raise UserError(f"{path}: holds no utterances")
    return found


def read_text(path: Path) -> str:
    """The content of a text file: UTF-8, or UTF-16 where it says so; UserError for others."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8, such as by "
            "iconv -f LATIN1 -t UTF-8"
        ) from error


def _utterance(path: Path, where: str, row: Row, transcribed: bool) -> Utterance:
    audio = as_text(where, _AUDIO[0], _first(row, _AUDIO))
    if not audio:
        raise UserError(f"{where}: must have audio_filepath and text; has {', '.join(row) or '-'}")
    text = normalize(as_text(where, "text", _first(row, _TEXT)))
    if transcribed and not text:
        raise UserError(f"{where}: empty transcript (text)")
    return Utterance(
        path.parent / audio,
        text,
        as_text(where, "speaker", _first(row, _SPEAKER)),
        as_seconds(where, "duration", row.get("duration"), positive=True),
        as_seconds(where, "offset", row.get("offset")),
    )


def _first(row: Row, names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if name in row), None)


def _json_lines(path: Path) -> Iterator[tuple[str, Row]]:
    # Not splitlines(): a transcript may hold what Unicode counts as the end of a line.
    for number, text in enumerate(read_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        where = f"{path}, line {number}"
        try:
            line = json.loads(text)
        except ValueError as error:
            raise UserError(f"{where}: not JSON ({error}); a line holds one object") from error
        if not isinstance(line, dict):
            raise UserError(f"{where}: must be an object with audio_filepath and text")
        yield where, line


def _table(path: Path) -> Iterator[tuple[str, Row]]:
    lines = read_text(path).splitlines(keepends=True)
    # Common Voice writes TSV without quotes, in which a quotation mark is one.
    is_tsv = path.suffix.lower() == ".tsv"
    reader = csv.DictReader(
        lines,
        delimiter="\t" if is_tsv else ",",
        quoting=csv.QUOTE_NONE if is_tsv else csv.QUOTE_MINIMAL,
    )
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        if None in row or None in row.values():
            raise UserError(f"{where}: has not as many fields as the header")
        yield where, {name.strip().lower(): value for name, value in row.items()}
