"""Unpacking within limits: a small archive can stand for more bytes than there is room."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

from data_scripts.manifest import DataError

MAX_FILE = 8 * 2**30  # bytes of one unpacked file; our largest has 0.7 GB
MAX_MEMBER = 2**30  # bytes of a member that is read into memory
MAX_ARCHIVE = 16 * 2**30  # bytes of all members
MAX_MEMBERS = 1_000_000
_CHUNK = 2**20


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """At most so many bytes; none at the end."""
        ...


def unpack_gzip(packed: Path, target: Path, limit: int = MAX_FILE) -> None:
    """Unpack a gzip file; DataError where it is damaged, or would be larger than the limit."""
    try:
        with gzip.open(packed) as stream, target.open("wb") as out:
            copy(stream, out, packed, limit)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{packed}: not a whole gzip file ({error})") from None


def copy(stream: Readable, out: IO[bytes], shown: object, limit: int = MAX_FILE) -> None:
    """Copy a stream to its end; DataError as soon as it has more bytes than the limit."""
    size = 0
    while chunk := stream.read(_CHUNK):
        size += len(chunk)
        if size > limit:
            raise DataError(f"{shown}: holds more than {limit} bytes")
        out.write(chunk)


def members(archive: tarfile.TarFile, shown: object) -> Iterator[tarfile.TarInfo]:
    """The members of a tar archive; DataError where all or one of them would be too large."""
    total = 0
    for number, member in enumerate(archive):
        total += max(member.size, 0)
        if member.size > MAX_MEMBER or total > MAX_ARCHIVE or number >= MAX_MEMBERS:
            raise DataError(f"{shown}: {member.name} makes it larger than an archive may be")
        yield member


def read(archive: tarfile.TarFile, name: str, shown: object) -> bytes:
    """The content of a member of a tar archive; KeyError where there is no such file."""
    for member in members(archive, shown):
        if member.name == name:
            stream = archive.extractfile(member)
            if stream is not None:
                return stream.read(MAX_MEMBER)
    raise KeyError(name)


def read_zip(archive: zipfile.ZipFile, name: str, shown: object) -> bytes:
    """The content of a member of a zip archive, however large it says that it is."""
    if archive.getinfo(name).file_size > MAX_MEMBER:
        raise DataError(f"{shown}: {name} is larger than {MAX_MEMBER} bytes")
    out = io.BytesIO()
    with archive.open(name) as stream:
        copy(stream, out, f"{shown}: {name}", MAX_MEMBER)
    return out.getvalue()
