"""The same comparison by every launcher, and what dies on the way: the same results, no run twice.

Whole commands in processes of their own, so that they can be killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from apps.report.results import read_results, repeatable
from tests.apps import slurm_cluster

pytestmark = pytest.mark.slow

APPS = ("temporal_order", "noisy_quadratic")
GRID = (
    f"app={','.join(APPS)}",
    "clipping=[none,global_norm]",
    "seeds=1",
    "jobs=2",
    "training.epochs=3",
    "app.steps_per_epoch=100",
    "logger=none",
)
RUNS = 4
Found = dict[str, Any]


@contextmanager
def comparing(
    folder: Path, *more: str, given: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """The comparison as a process, ended with the block."""
    command = [sys.executable, "-m", "apps.compare", *GRID, *more, f"output_dir={folder}"]
    own = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": own, **(given or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def compare(folder: Path, *more: str, given: Mapping[str, str] | None = None) -> Found:
    """Make the comparison to its end; its results."""
    with comparing(folder, *more, given=given) as process:
        return ended(process, folder)


def ended(process: subprocess.Popen[str], folder: Path) -> Found:
    """What a comparison that ends by itself leaves, without what a repetition may change."""
    out, errors = process.communicate()
    assert (process.returncode, errors) == (0, ""), out
    return {app: repeatable(read_results(folder / app / "results.json")) for app in APPS}


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> Any:
    """Wait for something, as long as the process that brings it about lives."""
    for _ in range(6000):
        if found := condition():
            return found
        if process is not None and process.poll() is not None:
            pytest.fail(f"ended too early: {process.communicate()}")
        time.sleep(0.05)
    return pytest.fail("waited in vain")


def begun(folder: Path) -> list[Path]:
    """Runs with a checkpoint that have not ended."""
    found = [path.parents[1] for path in folder.glob("*/runs/**/checkpoints/last.ckpt")]
    return [path for path in found if not (path / "metrics.json").exists()]


def done(folder: Path) -> list[Path]:
    """Runs that have ended."""
    return [path.parent for path in folder.glob("*/runs/**/metrics.json")]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """The results of processes of this machine that nobody disturbs."""
    folder = tmp_path_factory.mktemp("local")
    found = compare(folder)
    assert len(done(folder)) == RUNS
    return found


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A SLURM cluster: its folder, and the environment in which it is found."""
    pytest.importorskip("submitit")
    folder = tmp_path / "cluster"
    yield folder, slurm_cluster.install(folder)
    slurm_cluster.end(folder)


def test_slurm_finds_the_same_though_a_job_runs_out_of_time(
    local: Found, tmp_path: Path, slurm: tuple[Path, dict[str, str]]
) -> None:
    cluster, environment = slurm
    folder = tmp_path / "report"
    with comparing(folder, "launcher=slurm", given=environment) as process:
        wait_for(lambda: begun(folder), process)
        running = [job for job, s in slurm_cluster.states(cluster).items() if s == ["RUNNING"]]
        for job in running:
            slurm_cluster.preempt(cluster, job)
        assert ended(process, folder) == local
    passed = slurm_cluster.states(cluster)
    assert len(passed) == RUNS
    assert {states[-1] for states in passed.values()} == {"COMPLETED"}
    assert any(
        states == ["RUNNING", "REQUEUED", "RUNNING", "COMPLETED"] for states in passed.values()
    )


def test_a_killed_comparison_goes_on_and_makes_no_run_twice(local: Found, tmp_path: Path) -> None:
    with comparing(tmp_path) as process:
        wait_for(lambda: len(done(tmp_path)) >= 1 and begun(tmp_path), process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    for lock in tmp_path.glob("*/runs/**/.lock"):
        with FileLock(lock, timeout=60):  # its worker has ended, too
            pass
    over, halfway = done(tmp_path), begun(tmp_path)
    assert halfway
    assert 1 <= len(over) < RUNS
    written = {path: path.stat().st_mtime_ns for run in over for path in run.rglob("*.*")}
    starts = {run: (run / "config.yaml").stat().st_mtime_ns for run in halfway}
    assert compare(tmp_path) == local
    assert written == {path: path.stat().st_mtime_ns for path in written}
    # A run that was halfway went on: it has not been begun again.
    assert starts == {run: (run / "config.yaml").stat().st_mtime_ns for run in halfway}
