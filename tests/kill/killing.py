"""Killing a verb at every event in the file system, one after the other, and going on.

The real `main` runs in a process forked from a warm one under `shim.c`, which kills it. The same
command then has to succeed, and to leave what it leaves when nobody disturbs it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_scripts.files import is_temporary
from tests.conftest import Ended
from tests.forked import Warm

COMPILER = shutil.which("cc")


@contextmanager
def warm_under_shim(folder: Path) -> Iterator[Warm]:
    """A warm interpreter whose children can be killed at an event."""
    library = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    with Warm({"LD_PRELOAD": str(library)}) as warm:
        yield warm


def activate(value: str) -> None:
    """Called in the child: die at an event, given as `number|log|folder|folder ...`."""
    number, log, *folders = value.split("|")
    roots = (ctypes.c_char_p * len(folders))(*(folder.encode() for folder in folders))
    shim = ctypes.CDLL(os.environ["LD_PRELOAD"])
    shim.kill_at(ctypes.c_long(int(number)), log.encode(), len(folders), roots)


@dataclass(frozen=True)
class Scene:
    """A verb in a folder: its arguments, what the folder holds before, and what it leaves.

    before: fills an empty folder. after: what counts of the folder when the verb has ended.
    """

    verb: str
    arguments: Sequence[str]
    before: Callable[[Path], None]
    after: Callable[[Path], Any]
    temporary: Path
    shim: str = "tests.kill.killing:activate"
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, warm: Warm, folder: Path, number: int = 0) -> Ended:
        """Run the verb, to be killed at an event; 0: not at all."""
        self.temporary.mkdir(exist_ok=True)
        log = folder.with_name(f"{folder.name}.events")
        log.unlink(missing_ok=True)
        first = f"{self.shim} {number}|{log}|{folder}|{self.temporary}"
        environment = {"TMPDIR": str(self.temporary), **self.environment}
        return warm.run(self.verb, self.arguments, folder, first=first, environment=environment)

    def whole(self, warm: Warm, folder: Path) -> tuple[list[str], Any]:
        """Run the verb undisturbed: its events, and what it left."""
        self.before(folder)
        ended = self.run(warm, folder)
        assert ended.code == 0, ended
        events = folder.with_name(f"{folder.name}.events").read_text().splitlines()
        return events, self.after(folder)

    def check(self, warm: Warm, folder: Path, number: int, expected: Any) -> None:
        """Kill the verb at an event, and repeat it: it must end as if nothing had been."""
        folder.mkdir()
        self.before(folder)
        killed = self.run(warm, folder, number)
        # The last events are not always reached: a log is flushed by time.
        assert killed.code == -9, killed
        again = self.run(warm, folder)
        assert again.code == 0, again
        assert "Traceback" not in again.err
        assert self.after(folder) == expected
        assert not [path for path in folder.rglob("*") if is_temporary(path)]
