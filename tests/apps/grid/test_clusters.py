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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock

from apps.report.model.results import read_results, repeatable
from tests.apps.grid import slurm_cluster

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
OWN = str(Path(__file__).parents[3])
# Read by every process of Ray when it starts: the first of its agents takes longer than Ray waits.
SLOW_AGENT = """
import os, sys, time
if any("agent" in word for word in sys.orig_argv):
    try:
        os.mkdir(os.path.join(os.path.dirname(__file__), "begun"))
        time.sleep(45)
    except FileExistsError:
        pass
"""
Found = dict[str, Any]


@contextmanager
def comparing(
    folder: Path, *more: str, given: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """The comparison as a process, ended with the block."""
    command = [sys.executable, "-m", "apps.compare", *GRID, *more, f"output_dir={folder}"]
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": OWN, **(given or {})},
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


def ended(process: subprocess.Popen[str], folder: Path, *lines: str) -> Found:
    """What a comparison that ends by itself leaves, without what a repetition may change.

    It must have printed these lines once each.
    """
    out, errors = process.communicate()
    assert (process.returncode, errors) == (0, ""), out
    assert [out.splitlines().count(line) for line in lines] == [1] * len(lines), out
    assert "raylet" not in out  # what Ray has to say of itself
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


def times(runs: list[Path], name: str = "*.*") -> dict[Path, int]:
    """When the files of runs were written."""
    return {path: path.stat().st_mtime_ns for run in runs for path in run.rglob(name)}


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


def test_submitits_local_jobs_find_the_same(local: Found, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    assert compare(tmp_path, "launcher=slurm", "launcher.cluster=local") == local


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


def test_ray_finds_the_same_though_its_first_start_takes_too_long(
    local: Found, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    (tmp_path / "sitecustomize.py").write_text(SLOW_AGENT)
    path = os.pathsep.join([str(tmp_path), OWN])
    with comparing(tmp_path / "report", "launcher=ray", given={"PYTHONPATH": path}) as process:
        again = "Ray was slow to start; starting it again ..."
        assert ended(process, tmp_path / "report", again) == local


@pytest.mark.filterwarnings("ignore")  # of Ray's own cluster
def test_nothing_is_lost_with_a_node_of_ray(local: Found, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    try:
        node = cluster.add_node(**small)
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        address = f"launcher.address='{cluster.address}'"
        with comparing(tmp_path, "launcher=ray", address) as process:
            run, processes = wait_for(lambda: _on(raylet, begun(tmp_path)), process)
            for one in processes:  # a machine that goes takes all its processes along
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            cluster.remove_node(node, allow_graceful=False)
            assert not (run / "metrics.json").exists()
            over = done(tmp_path)
            written, begins = times(over), times([run], "config.yaml")
            lost = f"node {node.node_ip_address} was lost; what it made goes on elsewhere"
            assert ended(process, tmp_path, lost) == local
        assert written == times(over)
        assert begins == times([run], "config.yaml")  # it went on
    finally:
        cluster.shutdown()


def _on(raylet: psutil.Process, runs: list[Path]) -> tuple[Path, list[psutil.Process]] | None:
    """A run of these that a node is training, and the node's processes."""
    processes = raylet.children(recursive=True)
    words = []
    for one in processes:
        with suppress(psutil.NoSuchProcess):  # it has ended since it was listed
            words += one.cmdline()
    found = next((run for run in runs if any(str(run) in word for word in words)), None)
    return found and (found, processes)


def test_a_killed_comparison_goes_on_and_makes_no_run_twice(local: Found, tmp_path: Path) -> None:
    with comparing(tmp_path) as process:
        wait_for(lambda: _begun_after_another(tmp_path), process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    for lock in tmp_path.glob("*/runs/**/.lock"):
        with FileLock(lock, timeout=60):  # its worker has ended, too
            pass
    over, halfway = done(tmp_path), begun(tmp_path)
    assert halfway
    assert 1 <= len(over) < RUNS
    written, begins = times(over), times(halfway, "config.yaml")
    assert compare(tmp_path) == local
    assert written == times(over)
    # A run that was halfway went on: it has not been begun again.
    assert begins == times(halfway, "config.yaml")


def _begun_after_another(folder: Path) -> list[Path]:
    """Runs with a checkpoint and most of their steps to come, as they began when one was done."""
    ended = [(run / "metrics.json").stat().st_mtime for run in done(folder)]
    return [
        run for run in begun(folder) if ended and (run / "config.yaml").stat().st_mtime > min(ended)
    ]
