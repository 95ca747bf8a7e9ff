"""Making runs as tasks of a Ray cluster."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from apps.errors import UserError
from apps.grid.launcher import Launcher, Made
from apps.grid.making import Job, failed, make, python_path


class RayCluster(Launcher):
    """Tasks of a cluster whose nodes see this folder, or of one that is started here.

    A task whose node dies is made again on another, where it goes on from the run's checkpoint.

    address: of a running cluster, such as `auto` or host:6379; None starts one on this machine.
    cpus, gpus: what a run takes. retries: how often a lost task is made again.
    """

    def __init__(
        self, address: str | None = None, cpus: float = 1, gpus: float = 0, retries: int = 3
    ) -> None:
        try:
            import ray
        except ImportError as error:
            raise UserError("launcher=ray: needs ray; pip install ray") from error
        self.ray, self.address = ray, address
        self.task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=retries)(make)

    def make_all(self, jobs: Sequence[Job], at_once: int | None, folder: Path) -> Made:
        """Make all jobs; see `Launcher`. By default as many at once as the cluster has room for."""
        self._connect()
        waiting, running = deque(jobs), dict[Any, Job]()
        try:
            while waiting or running:
                while waiting and len(running) < (at_once or len(jobs)):
                    job = waiting.popleft()
                    running[self.task.remote(job)] = job
                done, _ = self.ray.wait(list(running), num_returns=1)
                for task in done:
                    yield running.pop(task), self._result(task)
        finally:
            self.ray.shutdown()

    def _connect(self) -> None:
        passed = {k: v for k, v in os.environ.items() if k.startswith("GRADCLIP_")}
        environment = {"env_vars": {**passed, "PYTHONPATH": python_path()}}
        logging.getLogger("ray").setLevel(logging.ERROR)
        try:
            self.ray.init(
                address=self.address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env=environment,
            )
        except Exception as error:  # Ray raises bare ones, too
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"launcher.address={self.address}: {first}") from error

    def _result(self, task: Any) -> dict[str, Any]:
        try:
            metrics: dict[str, Any] = self.ray.get(task)
        except self.ray.exceptions.RayError as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            return failed(lines[0] if lines else type(error).__name__)
        return metrics
