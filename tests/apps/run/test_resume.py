"""A run that was killed and continued equals one that was not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import lightning.pytorch as pl
import pandas as pd
import pytest
import torch

from apps.run.history import RunHistory
from tests.apps.runs import assert_same_run, metrics, steps
from tests.conftest import run_verb, succeed

# Dropout draws random numbers; AutoClip has a state; onecycle counts steps.
SETTINGS = ("clipping=autoclip", "training.epochs=4", "model.dropout=0.3", "seed=7")


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "run"
    succeed("train", *tiny, *SETTINGS, f"run_dir={path}")
    return path


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int, exception: type[BaseException]) -> None:
    """Make training break off when so many steps were made, in the middle of an epoch."""

    def hook(self: pl.Callback, trainer: pl.Trainer, *rest: object) -> None:
        if trainer.global_step == step:
            raise exception

    monkeypatch.setattr(RunHistory, "on_train_batch_start", hook)


def interrupted(monkeypatch, step: int, exception: type[BaseException], *arguments: str) -> object:
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        kill_at(patch, step, exception)
        try:
            return run_verb("train", *arguments)
        except Killed:
            return None
        finally:
            signal.signal(signal.SIGINT, handler)  # Lightning ignores it after an interrupt


@pytest.mark.parametrize("step", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_a_resumed_run_equals_the_whole(monkeypatch, tiny, whole, tmp_path, step):
    run = tmp_path / "run"
    interrupted(monkeypatch, step, Killed, *tiny, *SETTINGS, f"run_dir={run}")
    assert not (run / "metrics.json").exists()
    succeed("train", f"resume={run}")
    assert_same_run(run, whole)


def test_killed_twice(monkeypatch, tiny, whole, tmp_path):
    run = tmp_path / "run"
    interrupted(monkeypatch, 3, Killed, *tiny, *SETTINGS, f"run_dir={run}")
    interrupted(monkeypatch, 7, Killed, f"resume={run}")
    succeed("train", f"resume={run}")
    assert_same_run(run, whole)


def test_a_resumed_run_needs_no_more_the_run_that_it_started_from(
    monkeypatch, tiny, trained, tmp_path
):
    first, run = tmp_path / "first", tmp_path / "run"
    given = (*tiny, *SETTINGS, f"+training.start_from={first}")
    shutil.copytree(trained, first)
    succeed("train", *given, f"run_dir={tmp_path / 'whole'}")
    interrupted(monkeypatch, 5, Killed, *given, f"run_dir={run}")
    shutil.rmtree(first)
    succeed("train", f"resume={run}")
    assert_same_run(run, tmp_path / "whole")


def test_a_moved_run_continues(monkeypatch, tiny, whole, tmp_path):
    interrupted(monkeypatch, 5, Killed, *tiny, *SETTINGS, f"run_dir={tmp_path / 'run'}")
    moved = shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    succeed("train", f"resume={moved}")
    assert_same_run(Path(moved), whole)
    assert not (tmp_path / "run").exists()


def test_an_interrupt_says_how_to_go_on(monkeypatch, tiny, whole, tmp_path):
    run = tmp_path / "run"
    ended = interrupted(monkeypatch, 5, KeyboardInterrupt, *tiny, *SETTINGS, f"run_dir={run}")
    assert ended.code == 130
    assert ended.err == "gradclip-train: interrupted\n"
    assert f"gradclip-train resume={run}" in ended.out
    assert len(steps(run)) == 5, "steps made before the interrupt are in the record"
    succeed("train", f"resume={run}")
    assert_same_run(run, whole)


def test_a_finished_run_is_left_as_it_is(whole):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    out = succeed("train", f"resume={whole}")
    assert "completed after 8 steps" in out
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before


def test_before_the_first_checkpoint_a_run_starts_anew(monkeypatch, tiny, whole, tmp_path):
    run = tmp_path / "run"
    interrupted(monkeypatch, 1, Killed, *tiny, *SETTINGS, f"run_dir={run}")
    assert not (run / "checkpoints" / "last.ckpt").exists()
    (run / "mine.txt").write_text("kept")
    succeed("train", f"resume={run}")
    assert_same_run(run, whole)
    assert (run / "mine.txt").read_text() == "kept"


def test_a_diverged_run_does_not_go_on_after_a_resume(monkeypatch, tiny, tmp_path):
    settings = [*tiny, "training.epochs=4", "optimizer=sgd", "optimizer.lr=1e30", "clipping=none"]
    succeed("train", *settings, f"run_dir={tmp_path / 'whole'}")
    assert len(pd.read_csv(tmp_path / "whole" / "epochs.csv")) < 5, "it stops early"

    def lost(*arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("apps.run.training.evaluate", lost)
        with pytest.raises(Killed):
            run_verb("train", *settings, f"run_dir={tmp_path / 'run'}")
    succeed("train", f"resume={tmp_path / 'run'}")
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")


@pytest.mark.slow
def test_a_process_killed_for_real(tiny, tmp_path):
    settings = [*tiny, *SETTINGS, "training.epochs=40"]
    succeed("train", *settings, f"run_dir={tmp_path / 'whole'}")
    run = tmp_path / "run"
    command = [sys.executable, "-m", "apps.train", *settings, f"run_dir={run}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    told = 0
    while told < 12:  # the untrained network and some epochs
        told += process.stdout.readline().startswith("epoch")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    time.sleep(0.1)
    assert process.returncode == -signal.SIGKILL
    assert not (run / "metrics.json").exists()
    succeed("train", f"resume={run}")
    assert_same_run(run, tmp_path / "whole")


@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_run_continues_from_its_last_epoch_whatever_that_brought(tiny, tmp_path, keep):
    # At a rate of zero no epoch is better than the first, of which the weights are kept.
    settings = ["optimizer.lr=0", "training.epochs=3", f"training.keep={keep}"]
    succeed("train", *tiny, *settings, f"run_dir={tmp_path / 'run'}")
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=False)
    assert (
        last["global_step"] == metrics(tmp_path / "run")["steps"] == 3 * (last["global_step"] // 3)
    )


@pytest.mark.parametrize(
    ("setting", "step", "kept"),
    [
        pytest.param("trainer.accumulate_grad_batches=1", 11, 11, marks=pytest.mark.slow),
        ("trainer.accumulate_grad_batches=3", 4, 4),  # the third of an epoch is of two batches
        ("+trainer.val_check_interval=0.5", 13, 13),
        pytest.param("optimizer=sgd", 15, 15, marks=pytest.mark.slow),
    ],
)
def test_a_run_goes_on_within_an_epoch(monkeypatch, tiny, tmp_path, setting, step, kept):
    settings = [*tiny, *SETTINGS, "app.samples_per_epoch=256", "training.epochs=2", setting]
    succeed("train", *settings, f"run_dir={tmp_path / 'whole'}")
    run, often = tmp_path / "run", "checkpoint_minutes=1e-9"
    interrupted(monkeypatch, step, Killed, *settings, often, f"run_dir={run}")
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == kept
    succeed("train", f"resume={run}")
    assert_same_run(run, tmp_path / "whole")


def test_null_means_after_validations_alone(monkeypatch, tiny, tmp_path):
    run, never = tmp_path / "run", "checkpoint_minutes=null"
    more = ["app.samples_per_epoch=256", never]
    interrupted(monkeypatch, 11, Killed, *tiny, *SETTINGS, *more, f"run_dir={run}")
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 8
