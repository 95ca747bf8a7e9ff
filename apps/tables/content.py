"""The bytes of a file, unpacked, and its text in whichever encoding it is."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath

import chardet

from apps.errors import UserError

# What a table's name ends with, which tells it from other files of a folder or an archive.
SUFFIXES = frozenset(
    [
        ".csv",
        ".tsv",
        ".txt",
        ".psv",
        ".tab",
        ".dat",
        ".json",
        ".jsonl",
        ".ndjson",
        ".parquet",
        ".pq",
        ".arrow",
        ".feather",
        ".xlsx",
        ".xlsm",
        ".xls",
        ".xlsb",
        ".ods",
    ]
)

_PACKED: dict[bytes, tuple[str, Callable[[bytes], bytes]]] = {
    b"\x1f\x8b": ("gzip", gzip.decompress),
    b"\xfd7zXZ\x00": ("xz", lzma.decompress),
    b"BZh": ("bzip2", bz2.decompress),
}
_ZIP = b"PK\x03\x04"
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
PACKINGS = frozenset([".gz", ".zip", ".xz", ".bz2"])
_LAYERS = 3  # a table may be packed in a package
_LIKELY = 0.08  # chardet's confidence; below it stand a few letters that many encodings fit
_SIGNS = (
    "°²³µ·ªº€£§\u2019\u2026\u2013"  # beside letters what a little Western text has outside ASCII
)
_SAMPLE = 200_000  # bytes by which an encoding is told
_ENDS = "\0\x1a"  # with which old systems, and disks that were cut off, end a text


@dataclass(frozen=True, slots=True)
class Content:
    """Unpacked bytes, the file's name without the packing, and what it was packed by."""

    data: bytes
    name: PurePath
    packing: str | None = None


def read_content(path: Path) -> Content:
    """The bytes of a file, out of gzip, xz, bzip2 or a zip of one table; UserError if it cannot.

    A package in a package is unpacked, too.
    """
    try:
        content = Content(path.read_bytes(), PurePath(path.name))
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise UserError(f"{path}: {reason}") from None
    for _ in range(_LAYERS):
        inner = _unpacked(path, content)
        if inner is None:
            break
        packing = f"{inner.packing}, {content.packing}" if content.packing else inner.packing
        content = Content(inner.data, inner.name, packing)
    return content


def _unpacked(path: Path, content: Content) -> Content | None:
    """What is inside a package; None for bytes that are none."""
    if content.data.startswith(_ZIP):
        return _from_zip(path, content.data)
    for magic, (packing, unpack) in _PACKED.items():
        if content.data.startswith(magic):
            try:
                return Content(unpack(content.data), PurePath(content.name.stem), packing)
            except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
                raise UserError(f"{path}: damaged {packing} file ({error})") from None
    return None


def _from_zip(path: Path, data: bytes) -> Content | None:
    """The one table in a zip archive; None for a spreadsheet, which is such an archive, too."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [name for name in archive.namelist() if _counts(name)]
            if "content.xml" in names or any(name.startswith("xl/") for name in names):
                return None
            tables = [name for name in names if PurePath(name).suffix.lower() in SUFFIXES]
            chosen = names if len(names) == 1 else tables
            if len(chosen) != 1:
                raise UserError(
                    f"{path}: an archive of {len(names)} files ({', '.join(names[:5])}); unpack "
                    "it and give one of them, or their folder, as data.path"
                )
            return Content(archive.read(chosen[0]), PurePath(chosen[0]), "zip")
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
        raise UserError(f"{path}: damaged or encrypted zip file ({error})") from None


def _counts(name: str) -> bool:
    """Whether an archive's entry is a file of the user's and not one of his system's."""
    path = PurePath(name)
    return not (name.endswith("/") or path.name.startswith(".") or "__MACOSX" in path.parts)


def decode(data: bytes, path: Path, encoding: str | None = None) -> tuple[str, str]:
    """The text of a file and the name of its encoding: the given one, or as detected.

    A byte order mark decides, else UTF-8 where it fits, else what chardet finds, and Windows-1252
    (which Latin-1 is part of) for the few letters of a header, which tell no language.

    Raises UserError for bytes that are no text, or not of the given encoding.
    """
    if encoding is None:
        encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)
    if encoding is None:
        encoding = "utf-8" if _is_utf8(data) else _detected(data)
    if encoding is None:
        raise UserError(
            f"{path}: neither a table in a known format nor text; save it as CSV, Parquet or "
            "Excel, or set data.encoding if it is text"
        )
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}: line {line}: not {encoding} text ({error.reason}); set data.encoding, such "
            "as cp1252"
        ) from None
    return text.lstrip("\ufeff").rstrip(_ENDS), encoding


def _is_utf8(data: bytes) -> bool:
    """Whether bytes are UTF-8, or mostly: then what does not fit is damage to be named."""
    if b"\0" in data or b"\x1b$" in data:  # UTF-16, and the Japanese that shifts between signs
        return False
    text = data.decode("utf-8", errors="replace")
    damaged = text.count("\ufffd")
    return damaged == 0 or sum(not char.isascii() for char in text) > 3 * damaged


def _detected(data: bytes) -> str | None:
    """The name of an encoding other than UTF-8; None for what is no text."""
    if b"\0" not in data and _has_only_signs(data):
        return "cp1252"
    sample = data[:_SAMPLE]
    known = chardet.EncodingEra.ALL & ~chardet.EncodingEra.MAINFRAME
    found = chardet.detect(sample, encoding_era=known)
    if b"\0" not in data and found["encoding"] is not None:
        # Plain lines tell nothing, and hide the others.
        lines = (line for line in data.splitlines(keepends=True) if not line.isascii())
        sample = b"".join(lines)[:_SAMPLE] or sample
        found = max(found, chardet.detect(sample, encoding_era=known), key=_confidence)
    if found["encoding"] is None:
        return None
    name = codecs.lookup(found["encoding"]).name
    return "cp1252" if name == "iso8859-1" or _is_western(found["confidence"], sample) else name


def _has_only_signs(data: bytes) -> bool:
    """Whether all but ASCII is signs, such as quotes and dashes, in Windows-1252.

    Not where they always stand in pairs, as in the encodings of East Asia.
    """
    runs = {run.group() for run in re.finditer(rb"[\x80-\xff]+", data)}
    text = b"".join(runs).decode("cp1252", errors="replace")
    letters = any(char == "\ufffd" or (char.isalpha() and char not in _SIGNS) for char in text)
    return not letters and any(len(run) % 2 for run in runs)


def _confidence(found: chardet.DetectionDict) -> float:
    return found["confidence"] if found["encoding"] is not None else 0.0


def _is_western(confidence: float, sample: bytes) -> bool:
    """Whether a few letters, which tell no language, are likely those of a Western header."""
    foreign = {char for char in sample.decode("cp1252", errors="replace") if not char.isascii()}
    return confidence < _LIKELY and all(char.isalpha() or char in _SIGNS for char in foreign)
