"""Places that nothing can be read from or written to: one line, and nothing lost."""

from __future__ import annotations

import json
import os
import resource
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import Ended, snapshot

LONG = "n" * 300
HERE = __name__


def in_a_folder_that_is_gone(_: str) -> None:
    """In the child: take the current folder away."""
    Path.cwd().rmdir()


def with_stdout(place: str) -> None:
    """In the child: print somewhere else."""
    os.dup2(os.open(place, os.O_WRONLY), 1)


def with_files_up_to(size: str) -> None:
    """In the child: the disk is full for what is larger."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))


def assert_one_line(ended: Ended, code: int, expected: str) -> None:
    assert ended.code == code, ended
    assert ended.err.count("\n") == 1, ended.err
    assert expected in ended.err
    assert "Traceback" not in ended.out


@pytest.mark.parametrize(
    ("verb", "key", "value", "expected"),
    [
        ("train", "run_dir", "/proc/none/run", "/proc/none"),
        ("train", "run_dir", "/sys/run", "/sys/run"),
        ("train", "run_dir", LONG, "File name too long"),
        ("train", "run_dir", "dangling", "run_dir=dangling: "),
        ("train", "run_dir", "/dev/null", "run_dir=/dev/null: exists"),
        ("train", "data.path", LONG, "File name too long"),
        ("train", "data.path", "dangling", "no such file"),
        ("train", "data.path", "/dev/zero", "data.path=/dev/zero: is a device or a pipe"),
        ("train", "data.path", "pipe", "data.path=pipe: is a device or a pipe"),
        ("train", "resume", LONG, "File name too long"),
        ("train", "resume", "dangling", "resume=dangling: no such folder"),
        ("compare", "output_dir", LONG, "File name too long"),
        ("compare", "output_dir", "/proc/none/report", "/proc/none"),
        ("compare", "output_dir", "dangling", "output_dir=dangling: "),
        ("advise", "output_dir", LONG, "File name too long"),
        ("advise", "output_dir", "dangling", "output_dir=dangling: exists"),
        ("advise", "output_dir", "/proc/none/advice", "/proc"),
        ("evaluate", "run", LONG, "File name too long"),
        ("evaluate", "run", "dangling", "run=dangling: no such folder"),
        ("predict", "input", LONG, "File name too long"),
        ("predict", "input", "pipe", "input=pipe: is a device or a pipe"),
        ("predict", "output", LONG, "File name too long"),
        ("predict", "output", "dangling", "output=dangling: is a link to nothing"),
        ("predict", "output", "pipe", "output=pipe: is a device or a pipe"),
    ],
)
def test_a_place(warm, tiny, trained, load_csv, tmp_path, verb, key, value, expected):
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    before = os.listdir(tmp_path)
    given = {
        "train": [] if key == "resume" else tiny,
        "compare": [*tiny, "clipping=[none]", "seeds=1"],
        "advise": [*tiny[:-1], "training.epochs=30", "steps=50"],  # it has no logger
        "evaluate": [],
        "predict": [f"run={trained}", f"input={load_csv}", "output=out.csv"],
    }[verb]
    ended = warm.run(verb, [*given, f"{key}={value}"], tmp_path)
    assert_one_line(ended, 2, expected)
    assert os.listdir(tmp_path) == before


def test_a_folder_that_is_gone(warm, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    ended = warm.run("train", [], gone, first=f"{HERE}:in_a_folder_that_is_gone -")
    assert_one_line(ended, 2, "the current folder is gone")


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"]])
def test_a_terminal_that_is_full(warm, tmp_path, arguments):
    ended = warm.run("train", arguments, tmp_path, first=f"{HERE}:with_stdout /dev/full")
    assert_one_line(ended, 1, "No space left on device")


def test_a_disk_that_fills_up_in_training(warm, tiny, tmp_path):
    arguments = [*tiny, "run_dir=run"]
    ended = warm.run("train", arguments, tmp_path, first=f"{HERE}:with_files_up_to 5000")
    assert_one_line(ended, 1, "File too large")
    assert "to continue: gradclip-train resume=run" in ended.out
    assert warm.run("train", arguments, tmp_path).code == 0


def write_coming(load_csv, folder):
    table = pd.read_csv(load_csv)
    table.loc[len(table) - 24 :, "load"] = None  # the last day is to be forecast
    table.to_csv(folder / "coming.csv", index=False)


def test_a_disk_that_fills_up_under_an_output(warm, trained, load_csv, tmp_path):
    (tmp_path / "out.csv").write_text("precious")
    write_coming(load_csv, tmp_path)
    arguments = [f"run={trained}", "input=coming.csv", "output=out.csv", "overwrite=true"]
    ended = warm.run("predict", arguments, tmp_path, first=f"{HERE}:with_files_up_to 100")
    assert_one_line(ended, 1, "File too large")
    assert sorted(os.listdir(tmp_path)) == ["coming.csv", "out.csv"]
    assert (tmp_path / "out.csv").read_text() == "precious"


@pytest.mark.parametrize("name", ["report.html", "report.md", "results.json", "tables", "figures"])
def test_a_report_that_no_comparison_wrote(warm, tiny, tmp_path, name):
    report = tmp_path / "report"
    report.mkdir()
    (report / name).write_text("precious")
    arguments = [*tiny, "clipping=[none]", "seeds=1", "output_dir=report"]
    before = snapshot(tmp_path)
    ended = warm.run("compare", arguments, tmp_path)
    assert_one_line(ended, 2, f"output_dir=report: holds {name}, which no comparison wrote")
    assert snapshot(tmp_path) == before


def test_two_trainings_in_one_second(tmp_path):
    from apps.run.locking import new_folder

    with new_folder(tmp_path, "a") as one, new_folder(tmp_path, "a") as other:
        assert one != other
        (one / "written").touch()
    assert one.is_dir()
    assert not other.exists()


def test_a_diverged_run_predicts_nothing(warm, tiny, load_csv, tmp_path):
    settings = [*tiny, "optimizer=sgd", "optimizer.lr=1e30", "clipping=none", "run_dir=run"]
    assert warm.run("train", settings, tmp_path).code == 0
    arguments = ["run=run", f"input={load_csv}", "output=out.csv"]
    ended = warm.run("predict", arguments, tmp_path)
    assert_one_line(ended, 2, "run=run: diverged at step ")
    assert not (tmp_path / "out.csv").exists()


def test_a_run_that_overfitted_predicts_and_says_so(warm, trained, load_csv, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    metrics = json.loads((run / "metrics.json").read_text())
    head = "epoch,step,train_loss,val_loss\n0,0,nan,2\n"
    ended = {"status": "diverged", "diverged_at": 4, "error": "it ended above"}
    (run / "metrics.json").write_text(json.dumps({**metrics, **ended}))
    (run / "epochs.csv").write_text(f"{head}1,2,1,1\n2,4,1,3\n")
    write_coming(load_csv, tmp_path)
    arguments = ["run=run", "input=coming.csv", "output=out.csv"]
    predicted = warm.run("predict", arguments, tmp_path)
    assert predicted.code == 0, predicted
    assert "diverged at step 4 (it ended above); its best epoch" in predicted.out
    (run / "epochs.csv").write_text(f"{head}1,2,1,2.5\n")
    refused = warm.run("predict", [*arguments, "overwrite=true"], tmp_path)
    assert_one_line(refused, 2, "run=run: diverged at step 4")


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", '{"target": 5}', "[" * 100000])
def test_a_damaged_description(warm, trained, load_csv, tmp_path, text):
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "data.json").write_text(text)
    arguments = ["run=run", f"input={load_csv}", "output=out.csv"]
    assert_one_line(warm.run("predict", arguments, tmp_path), 2, "data.json")
