"""A training that is told to end says so by its exit code, and how to go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.apps.runs import assert_same_run, steps
from tests.conftest import succeed

SETTINGS = ("training.epochs=4", "model.dropout=0.3")


def at_step_5(name: str) -> None:
    """In the child: send it a signal in the third epoch; `nohup` ignores hanging up first."""
    from apps.run.history import RunHistory

    if name == "nohup":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    number = signal.SIGHUP if name == "nohup" else signal.Signals[name]

    def hook(self: Any, trainer: Any, *_: object) -> None:
        if trainer.global_step == 5:
            os.kill(os.getpid(), number)

    RunHistory.on_train_batch_start = hook  # type: ignore[method-assign]


def at_once(name: str) -> None:
    """In the child: send it a signal before anything was read."""
    from apps.run.experiment import Experiment

    def hook(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.Signals[name])
        time.sleep(5)

    Experiment.__init__ = hook  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "run"
    succeed("train", *tiny, *SETTINGS, f"run_dir={path}")
    return path


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("SIGTERM", 143, "ended by SIGTERM"),
        pytest.param("SIGHUP", 129, "ended by SIGHUP", marks=pytest.mark.slow),
        ("SIGINT", 130, "interrupted"),
    ],
)
def test_a_signal_in_training(warm, tiny, whole, tmp_path, name, code, said):
    arguments = [*tiny, *SETTINGS, "run_dir=run"]
    ended = warm.run("train", arguments, tmp_path, first=f"{__name__}:at_step_5 {name}")
    assert (ended.code, ended.err) == (code, f"gradclip-train: {said}\n")
    assert ended.out.endswith("to continue: gradclip-train resume=run\n")
    assert len(steps(tmp_path / "run")) == 5, "steps made before the signal are in the record"
    assert warm.run("train", ["resume=run"], tmp_path).code == 0
    assert_same_run(tmp_path / "run", whole)


def test_the_same_command_goes_on_as_well(warm, tiny, whole, tmp_path):
    arguments = [*tiny, *SETTINGS, "run_dir=run"]
    warm.run("train", arguments, tmp_path, first=f"{__name__}:at_step_5 SIGTERM")
    again = warm.run("train", arguments, tmp_path)
    assert again.code == 0, again
    assert "epoch   1/4" not in again.out
    assert "epoch   4/4" in again.out
    assert_same_run(tmp_path / "run", whole)
    told = warm.run("train", arguments, tmp_path)
    assert told.code == 0
    assert "completed after 8 steps" in told.out
    other = warm.run("train", [*arguments, "seed=9"], tmp_path)
    assert other.code == 2
    assert "run_dir=run: exists and is not empty" in other.err


def test_a_signal_before_training(warm, tiny, tmp_path):
    ended = warm.run("train", tiny, tmp_path, first=f"{__name__}:at_once SIGTERM")
    assert (ended.code, ended.out) == (143, "")
    assert list(tmp_path.iterdir()) == []


def test_a_closed_terminal_does_not_end_what_nohup_started(warm, tiny, tmp_path):
    arguments = [*tiny, *SETTINGS, "run_dir=run"]
    ended = warm.run("train", arguments, tmp_path, first=f"{__name__}:at_step_5 nohup")
    assert ended.code == 0, ended


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_comparison_ends_with_its_workers(tiny, tmp_path, number, code):
    grid = ["clipping=[none]", "seeds=2", "training.epochs=100000", f"output_dir={tmp_path}"]
    command = [sys.executable, "-W", "ignore", "-m", "apps.compare", *tiny, *grid]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("runs/*/checkpoints/last.ckpt")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert errors.count("\n") == 1, errors
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
