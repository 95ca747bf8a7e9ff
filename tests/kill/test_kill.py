"""A verb that is killed at any event goes on, or starts anew, with the same command."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.apps.runs import metrics, weights
from tests.forked import Warm
from tests.kill.killing import COMPILER, Scene, warm_under_shim

pytestmark = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
Find = Callable[[str], Scene]


@pytest.fixture(scope="module")
def warm(tmp_path_factory) -> Iterator[Warm]:
    with warm_under_shim(tmp_path_factory.mktemp("shim")) as interpreter:
        yield interpreter


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Iterator[Path]:
    """A folder for temporary files, on another file system where there is one."""
    shared = Path("/dev/shm")
    if shared.is_dir():
        with tempfile.TemporaryDirectory(dir=shared) as name:
            yield Path(name)
    else:
        yield tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def cut(trained: Path, tmp_path_factory) -> Path:
    """A run that was cut off after its last checkpoint."""
    path = Path(shutil.copytree(trained, tmp_path_factory.mktemp("cut") / "run"))
    for name in ("metrics.json", "predictions.parquet"):
        (path / name).unlink()
    return path


@pytest.fixture(scope="module")
def find(tiny, trained, cut, load_csv, elsewhere) -> Find:
    """The scene of a verb."""

    def copied(run: Path, coming: Path | None = None) -> Callable[[Path], None]:
        def copy(folder: Path) -> None:
            shutil.copytree(run, folder / "run")
            if coming is not None:  # the last day is to be forecast
                table = pd.read_csv(coming)
                table.loc[len(table) - 24 :, "load"] = None
                table.to_csv(folder / "run" / "coming.csv", index=False)

        return copy

    def nothing(folder: Path) -> None:
        return

    grid = ["clipping=[none]", "seeds=1", "training.epochs=1", "output_dir=report"]
    one_by_one = "tests.kill.scenes:in_this_process"
    scenes = {
        "train": Scene("train", [*tiny, "run_dir=run"], nothing, run_left, elsewhere),
        "resume": Scene("train", ["resume=run"], copied(cut), run_left, elsewhere),
        "compare": Scene("compare", [*tiny, *grid], nothing, report_left, elsewhere, one_by_one),
        "evaluate": Scene("evaluate", ["run=run"], copied(trained), baselines_left, elsewhere),
        "predict": Scene(
            "predict",
            ["run=run", "input=run/coming.csv", "output=out.csv"],
            copied(trained, coming=load_csv),
            lambda folder: (folder / "out.csv").read_text(),
            elsewhere,
        ),
        "advise": Scene(
            "advise",
            [*tiny[:-1], "training.epochs=30", "steps=50", "output_dir=advice"],
            nothing,
            lambda folder: json.loads((folder / "advice" / "advice.json").read_text()),
            elsewhere,
        ),
        "data": Scene(
            "data",
            ["data=etth1", "data.dir=data", "data.mirror=mirror"],
            lambda folder: None,
            data_left,
            elsewhere,
            "tests.kill.scenes:with_small_data",
        ),
    }
    return lambda name: scenes[name]


def run_left(folder: Path) -> Any:
    """What counts of a run: its scores, records, forecasts and weights."""
    run = folder / "run"
    parts = [pd.read_parquet(run / "predictions.parquet").to_csv()]
    parts += [(run / name).read_text() for name in ("steps.csv", "epochs.csv", "data.json")]
    parts += [
        {name: value.tolist() for name, value in weights(run, which).items()}
        for which in ("best", "last")
    ]
    return [metrics(run), *parts]


def report_left(folder: Path) -> Any:
    """What counts of a report: its numbers, and which files there are."""
    from apps.report.model.results import read_results, repeatable

    report = folder / "report"
    names = sorted(str(path.relative_to(report)) for path in report.rglob("*") if path.is_file())
    return repeatable(read_results(report / "results.json")), names


def baselines_left(folder: Path) -> Any:
    """The baselines' scores that `evaluate` keeps."""
    return json.loads((folder / "run" / "baselines" / "scores.json").read_text())["scores"].keys()


def data_left(folder: Path) -> Any:
    """The files of a data set."""
    data = folder / "data"
    return {
        str(path.relative_to(data)): path.read_bytes()
        for path in sorted(data.rglob("*"))
        if path.is_file()
    }


VERBS = ("train", "resume", "predict", "advise", "data", "evaluate", "compare")


def chosen(events: list[str], most: int) -> list[int]:
    """Events to kill at, spread over all of them, the last of each kind of file among them."""
    step = max(len(events) / most, 1)
    return sorted({int(i * step) + 1 for i in range(min(most, len(events)))})


def test_killed_at_some_events(warm, find, tmp_path):
    scene = find("train")
    (tmp_path / "whole").mkdir()
    events, expected = scene.whole(warm, tmp_path / "whole")
    assert events
    for number in chosen(events, 2):
        scene.check(warm, tmp_path / str(number), number, expected)


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_killed_at_every_event(warm, find, tmp_path, verb):
    scene = find(verb)
    (tmp_path / "whole").mkdir()
    events, expected = scene.whole(warm, tmp_path / "whole")
    for number in range(1, len(events) + 1):
        scene.check(warm, tmp_path / str(number), number, expected)
        shutil.rmtree(tmp_path / str(number))
