"""The bytes of a file, unpacked, and its text in whichever encoding it is."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath

from charset_normalizer import from_bytes

from apps.errors import UserError

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
# Tried where a text is neither Unicode nor Western: what people's programs still write.
_LEGACY = ["cp1250", "cp1251", "cp1253", "cp932", "gb18030", "euc_kr", "big5"]
_LIKELY = 0.1  # charset-normalizer's measure of disorder, 0 to 1; its own limit is 0.2


@dataclass(frozen=True, slots=True)
class Content:
    """Unpacked bytes, the file's name without the packing, and what it was packed by."""

    data: bytes
    name: PurePath
    packing: str | None = None


def read_content(path: Path) -> Content:
    """The bytes of a file, out of gzip, xz, bzip2 or a zip of one file; UserError if it cannot."""
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise UserError(f"{path}: {reason}") from None
    for magic, (packing, unpack) in _PACKED.items():
        if data.startswith(magic):
            try:
                return Content(unpack(data), PurePath(path.stem), packing)
            except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
                raise UserError(f"{path}: damaged {packing} file ({error})") from None
    if data.startswith(_ZIP):
        return _from_zip(path, data)
    return Content(data, PurePath(path.name))


def _from_zip(path: Path, data: bytes) -> Content:
    """The one table in a zip archive; an Excel file is a zip archive, too, and stays one."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [name for name in archive.namelist() if _counts(name)]
            if any(name.startswith("xl/") for name in names):
                return Content(data, PurePath(path.name))
            if len(names) != 1:
                raise UserError(
                    f"{path}: an archive of {len(names)} files ({', '.join(names[:5])}); unpack "
                    "it and give one of them, or their folder, as data.path"
                )
            return Content(archive.read(names[0]), PurePath(names[0]), "zip")
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
        raise UserError(f"{path}: damaged or encrypted zip file ({error})") from None


def _counts(name: str) -> bool:
    """Whether an archive's entry is a file of the user's and not one of his system's."""
    path = PurePath(name)
    return not (name.endswith("/") or path.name.startswith(".") or "__MACOSX" in path.parts)


def decode(data: bytes, path: Path, encoding: str | None = None) -> tuple[str, str]:
    """The text of a file and the name of its encoding: the given one, or as detected.

    A byte order mark decides, else UTF-8 where it fits, else Windows-1252 (which Latin-1 is part
    of) where charset-normalizer finds that likely, else what it finds best.

    Raises UserError for bytes that are no text, or not of the given encoding.
    """
    if encoding is None:
        encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)
    if encoding is None:
        encoding = "utf-8" if _is_utf8(data) else _detected(data)
    if encoding is None:
        raise UserError(f"{path}: neither a table in a known format nor text; see data.encoding")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}: line {line}: not {encoding} text ({error.reason}); set data.encoding, such "
            "as cp1252"
        ) from None
    return text.removeprefix("\ufeff"), encoding


def _is_utf8(data: bytes) -> bool:
    """Whether bytes are UTF-8, or mostly: then what does not fit is damage to be named."""
    if b"\0" in data:
        return False
    text = data.decode("utf-8", errors="replace")
    damaged = text.count("\ufffd")
    return damaged == 0 or sum(not char.isascii() for char in text) > 3 * damaged


def _detected(data: bytes) -> str | None:
    if b"\0" in data:
        wide = from_bytes(data, cp_isolation=["utf_16_le", "utf_16_be", "utf_32"]).best()
        return None if wide is None else wide.encoding
    western = from_bytes(data, cp_isolation=["cp1252"]).best()
    if western is not None and western.chaos < _LIKELY:
        return "cp1252"
    found = from_bytes(data, cp_isolation=_LEGACY).best() or western
    return None if found is None else found.encoding
