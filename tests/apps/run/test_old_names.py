"""Runs made before modules got their present names are read as they were."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from apps.run.old_names import renamed
from tests.apps.run.test_resume import SETTINGS, Killed, interrupted
from tests.apps.runs import assert_same_run
from tests.conftest import succeed

# As the first release wrote them.
OLD = {
    "apps.base.task.Optimization": "apps.task.Optimization",
    "apps.run.averaging.exponential_average": "apps.averaging.exponential_average",
    "apps.run.stress.OutlierBatches": "apps.faults.OutlierBatches",
}


def make_old(run: Path) -> None:
    """Write the old names into a run's configuration."""
    file = run / "config.yaml"
    text = file.read_text()
    for new, old in OLD.items():
        assert new in text
        text = text.replace(new, old)
    file.write_text(text)


@pytest.fixture(scope="module")
def arguments(tiny: list[str]) -> list[str]:
    return [*tiny, *SETTINGS, "stress=outliers"]


@pytest.fixture(scope="module")
def old(arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with the names of the first release; read only."""
    path = tmp_path_factory.mktemp("old") / "run"
    succeed("train", *arguments, f"run_dir={path}")
    make_old(path)
    return path


def test_an_old_run_is_evaluated(old):
    assert "MAPE" in succeed("evaluate", f"run={old}", "baselines=false")


def test_an_old_run_predicts(old, load_csv, tmp_path):
    output = tmp_path / "forecast.csv"
    text = load_csv.read_text().splitlines()
    coming = [line.split(",") for line in text[-24:]]
    rows = [*text[:-24], *(f"{time},,{temperature}" for time, _, temperature in coming)]
    (tmp_path / "coming.csv").write_text("\n".join(rows) + "\n")
    succeed("predict", f"run={old}", f"input={tmp_path / 'coming.csv'}", f"output={output}")
    assert len(output.read_text().splitlines()) == 25


def test_an_old_run_is_resumed(monkeypatch, old, arguments, tmp_path):
    run = tmp_path / "run"
    interrupted(monkeypatch, 5, Killed, *arguments, f"run_dir={run}")
    make_old(run)
    succeed("train", f"resume={run}")
    whole = tmp_path / "whole"
    shutil.copytree(old, whole)
    assert_same_run(run, whole)


def test_other_names_are_left_alone():
    faults = {"_target_": "apps.faults.X", "a": None}
    node = {"_target_": "torch.optim.AdamW", "callbacks": [faults]}
    assert renamed(node) == {
        "_target_": "torch.optim.AdamW",
        "callbacks": [{"_target_": "apps.run.stress.X", "a": None}],
    }


def test_keys_of_thresholds_get_their_present_names():
    old = {"_target_": "gradclip_core.ZScore", "z": 3.0, "warmup": 5, "patience": 4, "cap": None}
    rule = {"_target_": "gradclip_core.ClipNorm", "max_norm": old, "patience": 2}
    assert renamed(rule) == rule | {
        "max_norm": {
            "_target_": "gradclip_core.ZScore",
            "deviations": 3.0,
            "warmup_steps": 5,
            "max_spikes": 4,
            "cap": None,
        }
    }


@pytest.mark.parametrize(("named", "known"), [(None, "all"), (["wind"], ["wind"]), ([], [])])
def test_covariates_of_a_table_were_known_ahead(named, known):
    node = {"_target_": "apps.energy.sources.Csv", "path": "a.csv", "covariates": named}
    assert renamed({"data": node})["data"] == {
        "_target_": "apps.energy.sources.Csv",
        "path": "a.csv",
        "known": known,
        "past": [],
    }
