"""A SLURM cluster of one machine for tests: the commands that submitit calls, run as a script.

`install` puts sbatch, srun, sacct, scontrol and scancel into a folder for PATH. A submitted script
runs as it is, in the background, the elements of an array side by side. State is files in the
folder that the environment names, so that every command is a process of its own, as there.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

_FOLDER = "TESTS_SLURM_CLUSTER"


def install(folder: Path) -> dict[str, str]:
    """Make the cluster in a folder; what the environment has to hold for it."""
    commands = folder / "bin"
    commands.mkdir(parents=True)
    for name in _COMMANDS:
        command = commands / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {name} "$@"\n')
        command.chmod(0o755)
    return {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}", _FOLDER: str(folder)}


def preempt(folder: Path, job: str) -> None:
    """Send a job the signal with which SLURM announces the end of its time."""
    environment = {**os.environ, _FOLDER: str(folder)}
    command = [sys.executable, __file__, "scancel", job, "--signal", "USR2"]
    subprocess.run(command, env=environment, check=True)


def states(folder: Path) -> dict[str, list[str]]:
    """The states that every job went through."""
    return {path.stem: path.read_text().split() for path in folder.glob("*.state")}


def end(folder: Path) -> None:
    """Kill what still runs."""
    for path in folder.glob("*.pid"):
        if states(folder)[path.stem][-1] == "RUNNING":
            with suppress(ProcessLookupError):
                os.kill(int(path.read_text()), signal.SIGKILL)


def _sbatch(folder: Path, script: str) -> None:
    job = str(len([*folder.glob("*.sh")]) + 1)
    (folder / f"{job}.sh").write_text(Path(script).read_text())
    # Without a pipe of the caller's, who waits until nobody holds one.
    nowhere = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    subprocess.Popen([sys.executable, __file__, "work", job], start_new_session=True, **nowhere)
    print(f"Submitted batch job {job}")


def _work(folder: Path, job: str) -> None:
    array = re.search(r"#SBATCH --array=0-(\d+)%(\d+)", (folder / f"{job}.sh").read_text())
    if array is None:
        _run(folder, job, {"SLURM_JOB_ID": job})
        return
    with ThreadPoolExecutor(int(array[2])) as pool:
        for task in range(int(array[1]) + 1):
            ids = {"SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": str(task)}
            pool.submit(_run, folder, f"{job}_{task}", {"SLURM_JOB_ID": job, **ids})


def _run(folder: Path, name: str, ids: Mapping[str, str]) -> None:
    """Run the script, and once more as often as it was requeued."""
    task = {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    node = {"SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0", "SLURM_JOB_NODELIST": "localhost"}
    script, requeued = folder / f"{name.partition('_')[0]}.sh", folder / f"{name}.requeued"
    while True:
        _note(folder, name, "RUNNING")
        code = subprocess.run(
            ["bash", script], env={**os.environ, **ids, **task, **node}
        ).returncode
        if not requeued.exists():
            break
        requeued.unlink()
        _note(folder, name, "REQUEUED")
    _note(folder, name, "FAILED" if code else "COMPLETED")


def _note(folder: Path, name: str, state: str) -> None:
    with (folder / f"{name}.state").open("a") as file:
        file.write(f"{state}\n")


def _srun(folder: Path, *arguments: str) -> None:
    job, task = os.environ["SLURM_JOB_ID"], os.environ.get("SLURM_ARRAY_TASK_ID", "")
    (folder / f"{f'{job}_{task}' if task else job}.pid").write_text(str(os.getpid()))
    given, rest = {}, list(arguments)
    while rest[0].startswith("--"):
        flag = rest.pop(0)
        if flag != "--unbuffered":
            given[flag] = rest.pop(0)
    for flag, number in (("--output", 1), ("--error", 2)):
        path = given[flag]
        for sign, value in {"%j": job, "%A": job, "%a": task, "%t": "0"}.items():
            path = path.replace(sign, value)
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), number)
    os.execvp(rest[0], rest)


def _sacct(folder: Path, *_: str) -> None:
    print("JobID|State|NodeList")
    for name, passed in states(folder).items():
        print(f"{name}|{passed[-1]}|localhost")


def _scontrol(folder: Path, verb: str, job: str) -> None:
    assert verb == "requeue"
    (folder / f"{job}.requeued").touch()


def _scancel(folder: Path, job: str, *given: str) -> None:
    name = given[given.index("--signal") + 1] if "--signal" in given else "KILL"
    os.kill(int((folder / f"{job}.pid").read_text()), signal.Signals[f"SIG{name}"])


_COMMANDS = {
    "sbatch": _sbatch,
    "work": _work,
    "srun": _srun,
    "sacct": _sacct,
    "scontrol": _scontrol,
    "scancel": _scancel,
}

if __name__ == "__main__":
    _COMMANDS[sys.argv[1]](Path(os.environ[_FOLDER]), *sys.argv[2:])
