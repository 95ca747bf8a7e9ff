"""Making one run of a comparison, wherever it was sent to."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

import apps
from apps.cli.command import quoted
from apps.cli.signals import ending_by_signal
from apps.cli.trust import targets
from apps.errors import Terminated, UserError
from apps.run.folder import RunFolder, code_fingerprint

# What would tell Lightning that the cluster has started its processes already.
_OF_CLUSTER = ("SLURM_", "LOCAL_RANK", "GROUP_RANK", "TORCHELASTIC_")


@dataclass(frozen=True, slots=True)
class Job:
    """One run as it is sent to where it is made: plain values alone.

    `directory` is the one that relative paths among the overrides start from. A job that is
    `apart` trains in a process of its own, or in several.
    """

    config: dict[str, Any]
    overrides: list[str]
    path: str
    directory: str
    apart: bool = False


_children: set[subprocess.Popen[str]] = set()


def make(job: Job) -> dict[str, Any]:
    """Make one run, continue it, or read what it left; return its metrics.

    One that another process is making is waited for. A run that fails has metrics, too.
    """
    folder = RunFolder(Path(job.path))
    try:
        with ending_by_signal():
            return _make(job, folder)
    except Terminated as end:  # a pool would go on with the next run
        os._exit(128 + end.signal)
    except UserError as error:
        return failed(str(error))
    except Exception as error:  # one run's failure is a result of the comparison
        return failed(f"{type(error).__name__}: {error}")


def _make(job: Job, folder: RunFolder) -> dict[str, Any]:
    if (kept := _ended(folder)) is not None:
        return kept
    with folder.claim(wait=True):
        if (kept := _ended(folder)) is not None:
            return kept
        resume = _resumable(folder)
        if not resume:
            folder.clear()  # the checks have found it to be this very run
    if job.apart:
        return _train_apart(job, folder, resume=resume)
    from apps.run.experiment import Experiment
    from apps.run.folds import train_run

    experiment = Experiment(OmegaConf.create(job.config))
    return train_run(experiment, folder.path, resume=resume, quiet=True)


def failed(error: str) -> dict[str, Any]:
    """The metrics of a run that could not be made."""
    return {"status": "failed", "error": error}


def python_path() -> str:
    """`PYTHONPATH` with which another process imports the same code."""
    own = str(Path(apps.__file__).parents[1])
    return os.pathsep.join(filter(None, [own, os.environ.get("PYTHONPATH")]))


def end_children() -> None:
    """Kill the trainings that this process has started, with all their processes."""
    for child in list(_children):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def _ended(folder: RunFolder) -> dict[str, Any] | None:
    metrics = folder.metrics()
    return metrics if metrics is not None and metrics["code"] == code_fingerprint() else None


def _resumable(folder: RunFolder) -> bool:
    """Whether there is an interrupted run to go on with."""
    if folder.metrics() is not None or not folder.begun or not folder.config_file.is_file():
        return False
    try:
        if folder.last.is_file():
            folder.load_checkpoint(folder.last)
    except UserError:
        return False
    return True


def _train_apart(job: Job, folder: RunFolder, *, resume: bool) -> dict[str, Any]:
    """Train with `gradclip-train`, which may start further processes."""
    path = quoted(str(folder.path.absolute()))
    trust = f"trust=[{','.join(targets(job.config))}]"  # all are of the user's own command line
    given = [f"resume={path}", trust] if resume else [*job.overrides, f"run_dir={path}"]
    outer = {k: v for k, v in os.environ.items() if not k.startswith(_OF_CLUSTER)}
    child = subprocess.Popen(
        [sys.executable, "-m", "apps.train", *given],
        cwd=job.directory,
        env={**outer, "PYTHONPATH": python_path()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _children.add(child)
    try:
        _, errors = child.communicate()
    finally:
        if child.poll() is None:
            end_children()
        _children.discard(child)
    metrics = _ended(folder)
    if child.returncode == 0 and metrics is not None:
        return metrics
    if child.returncode < 0:
        return failed(f"the process was killed (signal {-child.returncode})")
    lines = [line for line in errors.splitlines() if line.strip()]
    return failed(lines[-1].removeprefix("gradclip-train: ") if lines else "ended without metrics")
