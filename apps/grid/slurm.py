"""Making runs as jobs of a SLURM cluster, by submitit."""

from __future__ import annotations

import os
import shutil
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from apps.errors import UserError
from apps.grid.launcher import Launcher, Made
from apps.grid.worker import Job, failed, make, python_path

_POLL_SECONDS = 1.0


class Slurm(Launcher):
    """Jobs of a cluster whose nodes see this folder; one that reaches its time limit is requeued.

    cluster: slurm; local makes them in processes of this machine. parameters: further ones of
    submitit's `update_parameters`, such as slurm_partition.
    """

    def __init__(
        self,
        cluster: str = "slurm",
        timeout_min: int = 120,
        cpus: int = 1,
        mem_gb: float = 8,
        gpus: int = 0,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        try:
            import submitit
        except ImportError as error:
            raise UserError("launcher=slurm: needs submitit; pip install submitit") from error
        if cluster not in ("slurm", "local"):
            raise UserError(f"launcher.cluster={cluster}: allowed: slurm, local")
        if cluster == "slurm" and shutil.which("srun") is None:
            raise UserError(
                "launcher=slurm: this machine is of no SLURM cluster (no srun); allowed: "
                "launcher=local, or launcher.cluster=local to try it out"
            )
        self.submitit, self.cluster = submitit, cluster
        self.parameters = {
            "timeout_min": timeout_min,
            "cpus_per_task": cpus,
            "mem_gb": mem_gb,
            "gpus_per_node": gpus,
            "name": "gradclip",
            **(parameters or {}),
        }

    def make_all(self, jobs: Sequence[Job], at_once: int | None, folder: Path) -> Made:
        """Make all jobs; see `Launcher`. By default all are submitted together."""
        executor = self._executor(folder.absolute())
        waiting, running = deque(jobs), deque[tuple[Any, Job]]()
        limit = at_once or len(jobs)
        while waiting or running:
            batch = [waiting.popleft() for _ in range(min(limit - len(running), len(waiting)))]
            running.extend(_submit(executor, batch))
            for _ in range(len(running)):
                submitted, job = running.popleft()
                if submitted.done():
                    yield job, _result(submitted)
                else:
                    running.append((submitted, job))
            if running:
                time.sleep(_POLL_SECONDS)

    def _executor(self, folder: Path) -> Any:
        try:
            executor = self.submitit.AutoExecutor(folder=folder, cluster=self.cluster)
            executor.update_parameters(**self.parameters)
        except (RuntimeError, NameError, ValueError, TypeError) as error:
            first = str(error).splitlines()[0]
            raise UserError(f"launcher=slurm: {first}") from error
        return executor


class Making:
    """A job that starts again, and then goes on from its checkpoint, where its time was over."""

    def __call__(self, job: Job) -> dict[str, Any]:
        """Make the job."""
        return make(job)

    def checkpoint(self, job: Job) -> Any:
        """What submitit submits in its place when the time is over."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job)


def _submit(executor: Any, jobs: Sequence[Job]) -> list[tuple[Any, Job]]:
    """Submit jobs as one array."""
    if not jobs:
        return []
    with _same_code(), executor.batch():
        submitted = [executor.submit(Making(), job) for job in jobs]
    return list(zip(submitted, jobs, strict=True))


@contextmanager
def _same_code() -> Iterator[None]:
    """Let jobs submitted meanwhile import the code that submits them."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = python_path()
    try:
        yield
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


def _result(submitted: Any) -> dict[str, Any]:
    """The metrics of a job, or why there are none."""
    try:
        metrics: dict[str, Any] = submitted.result()
    except Exception as error:  # submitit raises the job's own error, or one of its own
        lines = [line for line in str(error).splitlines() if line.strip()]
        return failed(lines[-1] if lines else type(error).__name__)
    return metrics
