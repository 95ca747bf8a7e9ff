"""Comparisons: fair, complete, continued rather than repeated, and honest about failures."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from apps.grid.worker import Job
from apps.report.model.results import Results, read_results, repeatable, write_results
from apps.run.folder import RunFolder
from tests.apps.runs import metrics, steps
from tests.conftest import refused, succeed

STRATEGIES = "clipping=[global_norm,autoclip]"


def results(root: Path) -> dict[str, Any]:
    """The results without what a repetition may change."""
    return repeatable(read_results(root / "results.json"))


@pytest.fixture(autouse=True)
def _quick(quick_baselines: None) -> None:
    """Without the boosted trees."""


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the results alone, for tests of nothing else."""

    def write(results: Results, root: Path, *_: object) -> Path:
        write_results(results, root / "results.json")
        return root / "results.json"

    monkeypatch.setattr("apps.report.page.report.write_report", write)


@pytest.fixture(scope="module")
def report(tiny, tmp_path_factory) -> Path:
    """A comparison of three strategies and two seeds, in two processes; read only."""
    from apps.energy.baselines import BASELINES

    root = tmp_path_factory.mktemp("report") / "r"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("hgb", "hgb_no_covariates"):
            patch.delitem(BASELINES, name)
        out = succeed(
            "compare",
            *tiny,
            STRATEGIES,
            "clipping.max_norm=0.2",
            "seeds=2",
            "jobs=2",
            f"output_dir={root}",
        )
    assert "6 runs, 2 at a time" in out
    assert f"report: {root / 'report.html'}" in out
    return root


def test_results_keep_the_contract(report):
    record = results(report)
    assert (record["app"], record["metric"], record["direction"]) == ("energy", "wql", "min")
    found = [(run["clipping"], run["seed"]) for run in record["grid"]["runs"]]
    assert found == [(name, s) for s in (0, 1) for name in ("none", "global_norm", "autoclip")]
    for run in record["grid"]["runs"]:
        assert run["status"] == "completed"
        assert run["test"] == metrics(report / run["run_dir"])["test"]
        assert run["test"]["wql"] > 0
    assert {"seasonal_naive_day", "seasonal_naive_week", "ridge"} <= record["baselines"].keys()
    for scores in record["baselines"].values():
        assert scores.keys() == record["grid"]["runs"][0]["test"].keys()
    assert read_results(report / "results.json").strategies[0] == "none"
    for name in ("report.html", "report.md"):
        assert (report / name).stat().st_size > 1000


def test_strategies_share_weights_and_batches(report):
    for seed in (0, 1):
        tables = [
            steps(report / "runs" / f"{name}-seed{seed}")
            for name in ("none", "global_norm", "autoclip")
        ]
        assert len({table["loss"][0] for table in tables}) == 1
        # Measured by two paths, which agree to rounding.
        assert np.ptp([table["norm"][0] for table in tables]) < 1e-12 * tables[0]["norm"][0]
        assert len({tuple(table["lr"]) for table in tables}) == 1
    first = [steps(report / "runs" / f"none-seed{seed}")["loss"][0] for seed in (0, 1)]
    assert first[0] != first[1]


def test_a_setting_goes_to_the_strategies_that_have_it(report):
    values = {
        name: RunFolder(report / "runs" / f"{name}-seed0").config().clipping
        for name in ("none", "global_norm", "autoclip")
    }
    assert values["global_norm"].max_norm == 0.2
    assert "max_norm" not in values["none"]
    assert values["autoclip"].max_norm._target_ == "gradclip_core.Percentile"
    commands = {run["clipping"]: run["command"] for run in results(report)["grid"]["runs"]}
    assert "clipping.max_norm=0.2" in commands["global_norm"]
    assert "clipping.max_norm" not in commands["none"] + commands["autoclip"]


def test_the_printed_command_repeats_a_run(report, tmp_path):
    import shlex

    run = next(run for run in results(report)["grid"]["runs"] if run["clipping"] == "global_norm")
    command = shlex.split(run["command"])
    assert command[0] == "gradclip-train"
    succeed("train", *command[1:], f"run_dir={tmp_path / 'again'}")
    assert metrics(tmp_path / "again") == metrics(report / run["run_dir"])


def repeat(tiny: list[str], root: Path, *more: str) -> str:
    return succeed(
        "compare",
        *tiny,
        STRATEGIES,
        "clipping.max_norm=0.2",
        "seeds=2",
        f"output_dir={root}",
        *more,
    )


@pytest.fixture
def copy(report: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(report, tmp_path / "copy"))


def written(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.glob("*/*/*") if path.is_file()}


@pytest.mark.usefixtures("in_process", "no_pictures")
def test_a_second_call_repeats_nothing(tiny, copy):
    runs, before = written(copy), results(copy)
    (copy / "results.json").unlink()
    repeat(tiny, copy)
    assert runs
    assert written(copy) == runs
    assert results(copy) == before


@pytest.mark.usefixtures("in_process", "no_pictures")
def test_what_is_missing_is_made_and_the_rest_is_left(tiny, copy):
    before = results(copy)
    shutil.rmtree(copy / "runs" / "none-seed1")  # never begun
    begun = copy / "runs" / "autoclip-seed0"  # killed before its first checkpoint
    for path in [*begun.glob("*.*"), *begun.glob("checkpoints/*")]:
        path.unlink()
    (copy / "runs" / "global_norm-seed0" / "metrics.json").unlink()  # killed at the end
    kept = written(copy / "runs" / "none-seed0")
    repeat(tiny, copy)
    assert results(copy) == before
    assert written(copy / "runs" / "none-seed0") == kept


@pytest.mark.usefixtures("in_process", "no_pictures")
def test_other_code_makes_a_run_anew(tiny, copy):
    file = copy / "runs" / "none-seed0" / "metrics.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | {"code": "older", "test": {}}))
    repeat(tiny, copy)
    assert metrics(copy / "runs" / "none-seed0")["test"] == record["test"]


def test_a_folder_of_other_runs_is_refused(tiny, copy, monkeypatch):
    monkeypatch.chdir(copy)
    line = refused(
        "compare", *tiny, STRATEGIES, "clipping.max_norm=0.3", "seeds=2", f"output_dir={copy}"
    )
    assert "global_norm-seed0 holds a run with another configuration" in line
    (copy / "runs" / "none-seed0" / "config.yaml").unlink()
    line = refused("compare", *tiny, "seeds=1", f"output_dir={copy}")
    assert "none-seed0" in line


class _Stop(BaseException):
    """Carries the planned runs out of a comparison."""


def _stop(comparing: Any, *rest: object) -> None:
    raise _Stop(comparing.planned)


def test_a_setting_may_be_a_mapping(tiny):
    choice = "clipping=[none,per_parameter_norm]"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("apps.compare._train", _stop)
        patch.setattr("apps.grid.comparison.score_baselines", lambda *arguments: {})
        with pytest.raises(_Stop) as stopped:
            succeed("compare", *tiny, choice, "clipping.by={head: head}", "seeds=1")
    planned = stopped.value.args[0]
    assert "by" not in planned[0].config.clipping
    assert planned[1].config.clipping.by == {"head": "head"}


@pytest.mark.usefixtures("in_process", "no_pictures")
def test_an_error_in_one_run_is_its_result(tiny, tmp_path, monkeypatch):
    from gradclip_core import ClipNorm

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(ClipNorm, "forward", broken)
    succeed("compare", *tiny, "clipping.max_norm=0.01", "seeds=1", f"output_dir={tmp_path}")
    runs = {run["clipping"]: run for run in results(tmp_path)["grid"]["runs"]}
    assert runs["none"]["status"] == "completed"
    assert runs["global_norm"]["status"] == "failed"
    assert runs["global_norm"]["error"] == "RuntimeError: out of luck"
    assert runs["global_norm"]["test"] == {}


@pytest.mark.usefixtures("in_process")
def test_divergence_of_all_is_a_report_too(tiny, tmp_path):
    succeed(
        "compare",
        *tiny,
        "optimizer=sgd",
        "optimizer.lr=1e30",
        "seeds=[3]",
        "optimization.schedule=constant",
        f"output_dir={tmp_path}",
    )
    assert {run["status"] for run in results(tmp_path)["grid"]["runs"]} == {"diverged"}
    assert {run["seed"] for run in results(tmp_path)["grid"]["runs"]} == {3}


@pytest.mark.usefixtures("in_process", "no_pictures")
def test_a_sweep_is_part_of_the_results(tiny, tmp_path):
    succeed(
        "compare",
        *tiny,
        "clipping=none",
        "seeds=1",
        "sweep=sgd",
        "sweep.overrides=['optimizer=sgd','optimizer.lr=0.01,1e30']",
        f"output_dir={tmp_path}",
    )
    sweep = results(tmp_path)["sweep"]
    assert sweep["axes"] == {"optimizer.lr": [0.01, 1e30]}
    assert sweep["overrides"] == ["optimizer=sgd"]
    assert [(run["lr"], run["settings"], run["status"]) for run in sweep["runs"]] == [
        (0.01, {"optimizer.lr": 0.01}, "completed"),
        (1e30, {"optimizer.lr": 1e30}, "diverged"),
    ]
    assert all((tmp_path / run["run_dir"] / "config.yaml").is_file() for run in sweep["runs"])


def _die(job: Job) -> dict[str, Any]:
    """In a worker: stand for a process that the system kills."""
    if "autoclip" in job.path:
        os._exit(9)
    return {"status": "completed", "threads": torch.get_num_threads()}


@pytest.mark.slow
def test_a_killed_process_takes_no_other_run_with_it(monkeypatch):
    from apps.grid import local

    monkeypatch.setattr(local, "make", _die)
    jobs = [Job({}, [], name, ".") for name in ("a", "autoclip", "b")]
    made = local.Local().make_all(jobs, 1, Path("unused"))
    ended = {job.path: found["status"] for job, found in made}
    assert ended == {"a": "completed", "autoclip": "failed", "b": "completed"}


@pytest.mark.usefixtures("in_process", "no_pictures")
def test_missing_baselines_are_said_with_their_reason(tiny, tmp_path):
    swept = ["clipping=none", "seeds=1", "data.test_fraction=0.15,0.2", "training.epochs=1"]
    out = succeed("compare", *tiny, *swept, f"output_dir={tmp_path}")
    said = "No baselines: the runs differ in data, on which they depend."
    assert said in out
    assert "baselines ..." not in out
    found = read_results(tmp_path / "results.json")
    assert (found.baselines, found.notes[1]) == ({}, said)
    assert found.notes[0].startswith("Of the first runs: ")
