"""Making runs as tasks of a Ray cluster."""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from apps.errors import UserError
from apps.grid.launcher import Launcher, Made
from apps.grid.worker import Job, failed, make, python_path

_POLL_SECONDS = 1.0
_ANSWER_SECONDS = 10.0
# Ray gives a node that it starts here 30 seconds, fewer than a busy machine may need, and has no
# setting for it.
_STARTS = 4
_TOO_SLOW = "timed out during startup"
_TOLD_TO_END = 1  # NodeDeathInfo.EXPECTED_TERMINATION, such as of an idle node


class RayCluster(Launcher):
    """Tasks of a cluster whose nodes see this folder, or of one that is started here.

    A task whose node dies is made again on another, where it goes on from the run's checkpoint.

    address: of a running cluster, such as `auto` or host:6379; None starts one on this machine.
    cpus, gpus: what a run takes. retries: how often a lost task is made again.
    """

    ray: Any  # its module, whose functions have no types

    def __init__(
        self, address: str | None = None, cpus: float = 1, gpus: float = 0, retries: int = 3
    ) -> None:
        # Ray tells of a lost node with the last lines of its log; it reads this when imported.
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "^")
        try:
            import ray
        except ImportError as error:
            raise UserError("launcher=ray: needs ray; pip install ray") from error
        if address is not None:
            _refuse_silent(address)
        self.ray, self.address = ray, address
        self.task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=retries)(make)

    def make_all(self, jobs: Sequence[Job], at_once: int | None, folder: Path) -> Made:
        """Make all jobs; see `Launcher`. By default as many at once as the cluster has room for."""
        self._connect()
        waiting, running, lost = deque(jobs), dict[Any, Job](), self._lost_nodes().keys()
        try:
            while waiting or running:
                while waiting and len(running) < (at_once or len(jobs)):
                    job = waiting.popleft()
                    running[self.task.remote(job)] = job
                done, _ = self.ray.wait(list(running), num_returns=1, timeout=_POLL_SECONDS)
                for task in done:
                    yield running.pop(task), self._result(task)
                now = self._lost_nodes()
                for node in now.keys() - lost:
                    print(f"node {now[node]} was lost; what it made goes on elsewhere", flush=True)
                lost = now.keys()
        finally:
            self.ray.shutdown()

    def _connect(self) -> None:
        logging.getLogger("ray").setLevel(logging.ERROR)
        for starts_left in range(0 if self.address else _STARTS - 1, -1, -1):
            try:
                self._start()
                return
            except Exception as error:  # Ray raises bare ones, too
                first = (str(error).splitlines() or [type(error).__name__])[0]
                if not starts_left or _TOO_SLOW not in first:
                    where = f"launcher.address={self.address}" if self.address else "launcher=ray"
                    raise UserError(f"{where}: {first}") from error
                print("Ray was slow to start; starting it again ...", flush=True)

    def _start(self) -> None:
        passed = {k: v for k, v in os.environ.items() if k.startswith("GRADCLIP_")}
        self.ray.init(
            address=self.address or "local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": {**passed, "PYTHONPATH": python_path()}},
        )

    def _lost_nodes(self) -> dict[str, str]:
        """The addresses of nodes that have ended, by their ids, but for those told to end."""
        nodes: list[dict[str, Any]] = self.ray.nodes()
        return {
            node["NodeID"]: node["NodeManagerAddress"]
            for node in nodes
            if not node["Alive"] and node["DeathReason"] != _TOLD_TO_END
        }

    def _result(self, task: Any) -> dict[str, Any]:
        try:
            metrics: dict[str, Any] = self.ray.get(task)
        except self.ray.exceptions.RayError as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            return failed(lines[0] if lines else type(error).__name__)
        return metrics


def _refuse_silent(address: str) -> None:
    """Refuse host:port where nothing answers, which Ray would try for a quarter of an hour."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or "/" in host:  # auto, ray://
        return
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"launcher.address={address}: {error}; is a Ray cluster there?") from error
