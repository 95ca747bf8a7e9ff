"""Manifests of utterances: JSON lines as NVIDIA NeMo has them, or a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from apps.errors import UserError
from apps.speech.utterances import Utterance, as_seconds, as_text, normalize
from apps.tables.content import PACKINGS, SUFFIXES
from apps.tables.read import read_table
from apps.tables.reading import Reading

TABLES = (".csv", ".tsv", ".parquet", ".xlsx")
_LINES = (".json", ".jsonl", ".ndjson")
# What the fields of an utterance are called: NeMo, Hugging Face, Common Voice, DeepSpeech,
# SpeechBrain, WeNet.
_AUDIO: tuple[str, ...] = (
    "audio_filepath",
    "audio",
    "path",
    "file",
    "wav_filename",
    "filename",
    "file_name",
)
_AUDIO += ("wav", "audio_path", "audio_file", "file_path", "filepath", "wav_path")
_TEXT: tuple[str, ...] = ("text", "sentence", "transcript", "transcription", "txt", "wrd", "words")
_TEXT += ("normalized_text",)
_SPEAKER = ("speaker", "speaker_id", "client_id", "spk_id", "spk")
_BEGIN = ("offset", "start", "start_time", "begin")
_END = ("end", "end_time", "stop")

Row = Mapping[str, Any]


def read_manifest(
    path: Path, reading: Reading | None = None, *, transcribed: bool = True
) -> list[Utterance]:
    """The utterances of a manifest; paths in it are relative to its folder.

    A line is a JSON object with `audio_filepath` and `text`, and optionally `speaker`, `duration`
    and `offset`, or `start` and `end` (seconds; they cut a segment out of a recording). A table
    (CSV, TSV, Excel, Parquet, a JSON list) has the same as columns; `reading` says how to read
    one. Raises UserError naming file and line for anything else, and for an empty text when
    `transcribed`.
    """
    rows = _rows(path, reading or Reading())
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
    place = _first(row, _AUDIO)
    if isinstance(place, Mapping) and "path" in place:  # Hugging Face, beside the samples
        place = place["path"]
    audio = as_text(where, _AUDIO[0], place)
    if not audio:
        raise UserError(f"{where}: must have audio_filepath and text; has {', '.join(row) or '-'}")
    text = normalize(as_text(where, "text", _first(row, _TEXT)))
    if transcribed and not text:
        raise UserError(f"{where}: empty transcript (text)")
    offset = as_seconds(where, "offset", _first(row, _BEGIN))
    duration = as_seconds(where, "duration", row.get("duration"), positive=True)
    end = as_seconds(where, "end", _first(row, _END))
    if end is not None:
        duration = end - (offset or 0.0)
        if duration <= 0:
            raise UserError(f"{where}: ends at {end:g} s, before it begins")
    return Utterance(
        find_file(path.parent, audio),
        text,
        as_text(where, "speaker", _first(row, _SPEAKER)),
        duration,
        offset,
    )


def find_file(folder: Path, name: str) -> Path:
    """The file that a list of recordings names, from its folder.

    Names may be those of Windows; Common Voice lists what is in `clips`.
    """
    path = folder / name
    if path.is_file():
        return path
    if "\\" in name:
        path = folder / PureWindowsPath(name).as_posix()
    clip = folder / "clips" / name
    return clip if clip.is_file() else path


def _first(row: Row, names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if name in row), None)


def _rows(path: Path, reading: Reading) -> Iterator[tuple[str, Row]]:
    """The rows of a manifest by its name, and of JSON and .txt by whether a table begins there."""
    suffix = path.suffix.lower()
    if suffix == ".tsv" and reading == Reading():
        return _tsv(path)
    is_table = suffix in SUFFIXES - set(_LINES) or suffix in PACKINGS
    if suffix in (".json", ".txt") and path.is_file() and reading == Reading():
        head = read_text(path).lstrip().partition("\n")[0]
        is_table = head.startswith("[") if suffix == ".json" else bool(set(head) & set(",;|\t"))
    return _table(path, reading) if is_table else _json_lines(path)


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
        yield where, {name.strip().lower(): value for name, value in line.items()}


def _table(path: Path, reading: Reading) -> Iterator[tuple[str, Row]]:
    table = read_table(path, reading).without_blank_rows()
    cells = table.cells.astype(object).where(table.cells.notna(), None)
    names = [name.strip().lower() for name in table.names]
    for number, row in enumerate(cells.to_numpy().tolist()):
        yield table.where(number), dict(zip(names, row, strict=True))


def _tsv(path: Path) -> Iterator[tuple[str, Row]]:
    lines = read_text(path).splitlines(keepends=True)
    # Common Voice writes TSV without quotes, in which a quotation mark is one.
    reader = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        if None in row or None in row.values():
            raise UserError(f"{where}: has not as many fields as the header")
        yield where, {name.strip().lower(): value for name, value in row.items()}
