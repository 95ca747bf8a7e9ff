"""Folders that one process works in at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from apps.errors import UserError

LOCK = ".lock"


@contextmanager
def alone(path: Path, key: str, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a folder, which is made if need be; it ends with the process, too.

    Raises UserError where another process holds it, unless it is waited for. Folders made for
    work that was refused before it wrote anything are taken away again.
    """
    made = _missing(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / LOCK)
        lock.acquire(timeout=-1 if wait else 0, poll_interval=0.5)
    except Timeout as error:
        raise UserError(f"{key}={path}: another process is at work in it") from error
    except OSError as error:
        _remove_unused(made)
        raise UserError(f"{key}={path}: {error.strerror or error}") from error
    try:
        yield
    except UserError:
        _remove_unused(made)
        raise
    finally:
        lock.release()


@contextmanager
def new_folder(root: Path, name: str) -> Iterator[Path]:
    """A dated folder below `root` that no other process gets, in the same second neither.

    It is taken away again if nothing was written into it. Of processes that train together the
    first one's folder counts.
    """
    stamp = f"{datetime.now():%Y-%m-%d/%H-%M-%S}-{name}"
    if "LOCAL_RANK" in os.environ:
        yield root / stamp
        return
    made = _missing(root / stamp)[1:]
    for number in range(1, 1000):
        path = root / (stamp if number == 1 else f"{stamp}-{number}")
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            break
    try:
        yield path
    finally:
        _remove_unused([path, *made])


def _missing(path: Path) -> list[Path]:
    """The folders that are to be made for a path, the innermost first."""
    return [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]


def _remove_unused(folders: Sequence[Path]) -> None:
    """Remove folders, the innermost first, up to one that holds more than a lock."""
    for folder in folders:
        if not folder.is_dir():
            continue
        if any(file.name != LOCK for file in folder.iterdir()):
            return
        (folder / LOCK).unlink(missing_ok=True)
        folder.rmdir()
