"""Writing files so that a kill at any moment leaves the old one or the whole new one."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST = 100  # bytes of a file's name that stand in that of its temporary file


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file in the folder of `path` that replaces it if the block succeeds.

    Readers see the old file or the whole new one, also after the machine has lost its power. Each
    file has one temporary file, whose lock makes a second writer wait, and which the next writer
    overwrites where one was killed. A link is replaced, not followed. Raises OSError where nothing
    can be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    lock = _locked(temporary)
    try:
        yield temporary
        if path.is_file() and not path.is_symlink():
            temporary.chmod(path.stat().st_mode & 0o777)
        _to_disk(temporary)
        temporary.replace(path)
        _to_disk(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(lock)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file of bytes; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def is_temporary(path: Path) -> bool:
    """Whether a file is one that `replacing` writes, or has left when it was killed."""
    return path.name.startswith(".") and path.name.endswith(".part")


def _temporary(path: Path) -> Path:
    name = path.name
    if len(name.encode()) > _LONGEST:  # so that what fits as a name fits with an ending
        name = hashlib.sha256(name.encode()).hexdigest()
    return path.with_name(f".{name}.part")


def _locked(temporary: Path) -> int:
    """An empty file of our own, by its handle: nobody else writes while it is open."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        handle = os.open(temporary, flags, 0o666)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if _is_at(handle, temporary):
            os.ftruncate(handle, 0)
            return handle
        os.close(handle)  # the writer that was waited for has renamed it


def _is_at(handle: int, path: Path) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
