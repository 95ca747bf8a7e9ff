"""Compiling the kernel on the machine it runs on: once, at its first use.

Nothing is compiled at installation: one wheel fits every machine, no installation can fail, and
a compiler that comes later is found. The result stands in the user's cache folder under a name
made from source and compiler.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = [Path(__file__).with_name(name) for name in ("kernel.c", "loops.c", "locate.c")]
HEADER = Path(__file__).with_name("loops.h")
PATIENCE = 60  # seconds for a compiler that takes two
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
        target = folder / f"kernel-{_fingerprint(compiler)}.so"
        if target.exists() or _compile(compiler, target):
            return target
    except (OSError, RuntimeError, subprocess.SubprocessError):
        return None
    return None


def _cache_folder() -> Path:
    """A folder that only this user may write, since code is loaded from it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "gradclip"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = folder.stat()
    if state.st_uid != os.getuid() or state.st_mode & 0o022:
        raise PermissionError(f"{folder} belongs to, or may be written by, somebody else")
    return folder


def _fingerprint(compiler: str) -> str:
    built_from = [compiler, platform.machine(), sys.platform, *_FLAGS, *_CLONES]
    text = "\n".join(built_from).encode() + b"".join(
        path.read_bytes() for path in [*SOURCES, HEADER]
    )
    return hashlib.sha256(text).hexdigest()[:16]


def _compile(compiler: str, target: Path) -> bool:
    """Compile into place in one move, so that several processes may do it at once."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        draft = Path(folder) / target.name
        # Compilers and C libraries without such clones build the plain code.
        for clones in (_CLONES, []):
            command = [compiler, *_FLAGS, *clones, *map(str, SOURCES), "-o", str(draft), "-lm"]
            done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
            if done.returncode == 0:
                draft.replace(target)
                return True
    return False
