"""Workers of a comparison: none outlives the process that started it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

KILLED = """
import multiprocessing, os, signal, time
from concurrent.futures import ProcessPoolExecutor
from apps.grid.local import end_with_parent

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent)
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 600)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def lives(pid: str) -> bool:
    try:
        state = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
def test_a_worker_ends_when_its_parent_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    paths = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, str(script)]
    # The worker holds the pipe of stdout: read one line of it, not all.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=paths) as main:
        assert main.stdout is not None
        pid = main.stdout.readline().strip()
        main.wait()
    for _ in range(600):
        if not lives(pid):
            return
        time.sleep(0.1)
    pytest.fail(f"worker {pid} lives on")
