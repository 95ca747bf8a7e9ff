"""What the headers of audio files say of their length, which decoders do not hold them to."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

# Recorders that stream write a size before they know it: none, the largest, or sox's 2 GiB.
_LEAST_PLACEHOLDER = 0x7FFF0000
# Bytes of an Ogg page: its header, whose last byte counts the segments, and the most there can be.
_PAGE_HEADER = 27
_LARGEST_PAGE = _PAGE_HEADER + 255 + 255 * 255
# RIFF's chunks begin behind its own header and the word WAVE.
_FIRST_CHUNK = 12


def is_cut(path: Path) -> bool:
    """Whether a file ends before its header says; libsndfile reads it all the same.

    WAV, AIFF, AU, CAF, W64, RF64, NIST Sphere and Ogg are known; others never count as cut.
    """
    whole = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(1024)
        if head[:4] == b"OggS":
            file.seek(max(0, whole - _LARGEST_PAGE))
            return _ends_within_a_page(file.read())
        size_of = next((f for magic, f in _SIZES.items() if head.startswith(magic)), None)
        try:
            size = size_of(head, file) if size_of else None
        except (struct.error, ValueError):  # the header itself is cut or says nonsense
            return True
    return size is not None and whole < size


def with_size(path: Path) -> Path | BinaryIO:
    """The file, or for a WAV whose data were streamed under a size of zero a copy that says it."""
    with path.open("rb") as file:
        if file.read(4) != b"RIFF":
            return path
        place = next((at for name, at, size in _chunks(file) if name == b"data" and not size), None)
    if place is None:
        return path
    content = bytearray(path.read_bytes())
    content[4:8] = struct.pack("<I", min(len(content) - 8, 0xFFFFFFFF))
    content[place - 4 : place] = struct.pack("<I", min(len(content) - place, 0xFFFFFFFF))
    return io.BytesIO(content)


def _chunks(file: BinaryIO, order: str = "<") -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a WAV: name, where the content begins, and its size."""
    place = _FIRST_CHUNK
    while True:
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            return
        name, size = struct.unpack(f"{order}4sI", head)
        yield name, place + 8, size
        place += 8 + size + size % 2


def _riff(order: str) -> Callable[[bytes, BinaryIO], int | None]:
    def size(head: bytes, file: BinaryIO) -> int | None:
        chunks = _chunks(file, order)
        return next(
            (at + told for name, at, told in chunks if name == b"data" and _told(told)), None
        )

    return size


def _form(head: bytes, file: BinaryIO) -> int | None:
    # The size counts from the eighth byte on; some writers count the whole file instead.
    (found,) = struct.unpack_from(">I", head, 4)
    return _told(found)


def _au(head: bytes, file: BinaryIO) -> int | None:
    start, size = struct.unpack_from(">II", head, 4)
    return None if _told(size) is None else start + size


def _w64(head: bytes, file: BinaryIO) -> int | None:
    (size,) = struct.unpack_from("<Q", head, 16)
    return int(size) if 0 < size < 1 << 62 else None


def _rf64(head: bytes, file: BinaryIO) -> int | None:
    (size,) = struct.unpack_from("<Q", head, 20)
    return int(size) if 0 < size < 1 << 62 else None


def _caf(head: bytes, file: BinaryIO) -> int | None:
    place = 8
    while True:
        file.seek(place)
        name, size = struct.unpack(">4sq", file.read(12))
        if name == b"data":
            return None if size < 0 else place + 12 + int(size)
        place += 12 + size


def _nist(head: bytes, file: BinaryIO) -> int | None:
    fields = dict(line.split(None, 1) for line in head.splitlines() if len(line.split()) == 3)
    wanted = (b"sample_count", b"channel_count", b"sample_n_bytes")
    if not all(name in fields for name in wanted):
        return None
    product = 1
    for name in wanted:
        product *= int(fields[name].split()[1])
    return int(head.splitlines()[1]) + product


def _told(size: int) -> int | None:
    return size if 0 < size < _LEAST_PLACEHOLDER else None


_SIZES: dict[bytes, Callable[[bytes, BinaryIO], int | None]] = {
    b"RIFF": _riff("<"),
    b"RIFX": _riff(">"),
    b"FORM": _form,
    b".snd": _au,
    b"riff": _w64,
    b"RF64": _rf64,
    b"caff": _caf,
    b"NIST_1A": _nist,
}


def _ends_within_a_page(tail: bytes) -> bool:
    """Whether the last page of an Ogg file lacks bytes (RFC 3533, section 6)."""
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < _PAGE_HEADER:
        return True
    segments = page[_PAGE_HEADER : _PAGE_HEADER + page[_PAGE_HEADER - 1]]
    return len(page) < _PAGE_HEADER + page[_PAGE_HEADER - 1] + sum(segments)
