"""Compiling the kernel on the machine it runs on: once, at its first use.

Nothing is compiled at installation: one wheel fits every machine, no installation can fail, and
a compiler that comes later is found. The result stands in the user's cache folder under a name
made from source, compiler and its own content, by which it is checked before it is loaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCES = [Path(__file__).with_name(name) for name in ("kernel.c", "loops.c", "locate.c")]
HEADER = Path(__file__).with_name("loops.h")
PATIENCE = 180  # seconds for a compiler that takes two, on a machine that is not busy
_DRAFT = "draft-"
_FLAGS = ["-O3", "-std=gnu11", "-fPIC", "-shared", "-pthread"]
# Sums may be taken in any order; NaN and inf stay what they are.
_FLAGS += ["-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno"]
# Code for several generations of processors, chosen when the library is loaded, with vectors as
# wide as they have: by itself GCC takes half of it for the latest, which is a tenth slower.
_LEVELS = '"arch=x86-64-v4","arch=x86-64-v3","default"'
_CLONES = [f"-DCLONES=__attribute__((target_clones({_LEVELS})))", "-mprefer-vector-width=512"]


def compiled() -> Path | None:
    """The path of the compiled kernel; None where there is no compiler or no folder for it."""
    compiler = shutil.which(os.environ.get("CC") or "cc")
    if compiler is None or os.name != "posix":
        return None
    try:
        folder = _cache_folder()
        stem = f"kernel-{_fingerprint(compiler)}"
        whole = (path for path in sorted(folder.glob(f"{stem}-*.so")) if _is_whole(path))
        return next(whole, None) or _compile(compiler, folder, stem)
    except (OSError, RuntimeError, subprocess.SubprocessError):
        return None


def _cache_folder() -> Path:
    """A folder that only this user may write, since code is loaded from it.

    A relative XDG_CACHE_HOME is passed over, as the XDG base directory specification demands: it
    would mean another folder, perhaps a stranger's, wherever the program is started.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME") or "")
    base = given if given.is_absolute() else Path.home() / ".cache"
    if not base.is_absolute():
        raise RuntimeError(f"the home folder {base.parent} is relative")
    folder = base / "gradclip"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_own(folder.stat()):
        raise PermissionError(f"{folder} belongs to, or may be written by, somebody else")
    return folder


def _is_own(state: os.stat_result) -> bool:
    """Whether a file or folder is this user's, and nobody else may write it."""
    return state.st_uid == os.getuid() and not state.st_mode & 0o022


def _is_whole(path: Path) -> bool:
    """Whether a file is this user's own and holds what its name says: it may have been cut."""
    state = path.lstat()
    own = stat.S_ISREG(state.st_mode) and _is_own(state)
    return own and path.stem.rpartition("-")[2] == _digest(path.read_bytes())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _fingerprint(compiler: str) -> str:
    """What the kernel is made of; a compiler that was replaced is another one."""
    state = os.stat(compiler)
    built_from = [compiler, str(state.st_size), str(state.st_mtime_ns), platform.machine()]
    text = "\n".join([*built_from, sys.platform, *_FLAGS, *_CLONES]).encode() + b"".join(
        path.read_bytes() for path in [*SOURCES, HEADER]
    )
    return hashlib.sha256(text).hexdigest()[:16]


def _compile(compiler: str, folder: Path, stem: str) -> Path | None:
    """Compile into place in one move, so that several processes may do it at once."""
    _remove_leftovers(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=_DRAFT) as place:
        draft = Path(place) / "kernel.so"
        # Compilers and C libraries without such clones build the plain code.
        for clones in (_CLONES, []):
            command = [compiler, *_FLAGS, *clones, *map(str, SOURCES), "-o", str(draft), "-lm"]
            done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
            if done.returncode == 0:
                draft.chmod(0o600)  # whatever the umask allows others
                return draft.replace(folder / f"{stem}-{_digest(draft.read_bytes())}.so")
    return None


def _remove_leftovers(folder: Path) -> None:
    """Remove what processes left that were killed while they compiled."""
    for place in folder.glob(f"{_DRAFT}*"):
        with contextlib.suppress(FileNotFoundError):  # another process has just ended
            if time.time() - place.stat().st_mtime > 10 * PATIENCE:
                shutil.rmtree(place, ignore_errors=True)
