"""The advice on a real training: its numbers, its files, and the command that it ends with."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.apps.runs import metrics, steps
from tests.conftest import refused, succeed
from tests.thinned import thinned

STEPS = 64
# 41 steps an epoch: 49 days, five times each.
LONG = ("training.epochs=2", "app.samples_per_epoch=1312", "app.batch_size=6")
SGD = ("optimizer=sgd", "optimization.schedule=constant")


@pytest.fixture(scope="module")
def small(tiny: list[str]) -> list[str]:
    """A small training of 82 steps that an advice can be had for."""
    return [override for override in tiny if override != "logger=none"] + list(LONG)


@pytest.fixture(scope="module")
def advised(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What an advice printed, and its folder."""
    folder = tmp_path_factory.mktemp("advice") / "a"
    return succeed("advise", *small, f"steps={STEPS}", f"output_dir={folder}"), folder


def facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "advice.json").read_text())
    return found


def test_the_norms_are_those_of_the_unclipped_run(advised, small, tmp_path):
    run = tmp_path / "run"
    succeed("train", *small, "clipping=none", f"run_dir={run}")
    norms = steps(run)["norm"].iloc[:STEPS]
    found = facts(advised[1])["norms"]
    assert found["steps"] == STEPS
    for q, value in found["percentiles"].items():
        assert value == pytest.approx(norms.quantile(int(q) / 100))


def test_the_folder_holds_the_advice_and_its_picture(advised):
    out, folder = advised
    assert {path.name for path in folder.iterdir()} == {"advice.json", "advice.png", "advice.svg"}
    assert (folder / "advice.png").read_bytes().startswith(b"\x89PNG")
    picture, found = (folder / "advice.svg").read_text(), facts(folder)
    assert picture.startswith("<svg")
    for part in found["modules"][:6]:
        assert part["name"] in picture
        assert part["name"] in out
    assert found["clipping"] in picture
    assert f"advice and picture: {folder}" in out


def test_the_line_it_ends_with_trains(advised, tmp_path):
    out, folder = advised
    command = out.split("to train with it: ")[1].splitlines()[0]
    assert facts(folder)["command"] == command
    script, *overrides = shlex.split(command)
    assert script == "gradclip-train"
    assert not any(override.startswith(("steps=", "output_dir=")) for override in overrides)
    run = tmp_path / "run"
    succeed("train", *overrides, "training.epochs=1", f"run_dir={run}")
    assert f"clipping={metrics(run)['clipping']}" in out.split("use: ")[1].splitlines()[0]


def test_every_candidate_is_a_valid_choice(advised):
    from hydra import compose, initialize_config_dir

    from apps import CONF
    from apps.cli.command import search_path
    from apps.cli.instantiate import instantiate

    for candidate in facts(advised[1])["candidates"]:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("train", [*candidate["clipping"].split(), search_path("energy")])
        assert instantiate(config, "clipping")
        assert candidate["clipping"] in advised[0]


def test_a_training_that_breaks_down_is_advised_and_survives_with_the_advice(small, tmp_path):
    wild = [*small, *SGD, "app.loss=mse", "optimizer.lr=0.5"]
    folder, run = tmp_path / "advice", tmp_path / "run"
    out = succeed("advise", *wild, f"steps={STEPS}", f"output_dir={folder}")
    found = facts(folder)
    assert found["norms"]["broke_down"]
    assert "Training without clipping broke down at step" in out
    assert found["clipping"].startswith("clipping=global_norm clipping.max_norm=")
    assert (folder / "advice.png").is_file()
    succeed("train", *shlex.split(found["command"])[1:], f"run_dir={run}")
    assert steps(run)["norm"].map(lambda norm: norm < float("inf")).all()


def test_a_default_folder_is_made_and_told(small, empty_folder):
    out = succeed("advise", *small, "optimizer=rmsprop", "steps=50")
    (folder,) = empty_folder.glob("advice/energy/*/*")
    assert folder.name.endswith("rmsprop")
    assert f"advice and picture: {folder.relative_to(empty_folder)}" in out
    assert "RMSprop divides by the size" in out


@pytest.mark.parametrize(
    ("override", "expected"),
    thinned(
        [
            ("steps=49", "steps=49: must be an integer >= 50"),
            ("steps=many", "steps=many: must be an integer"),
            ("steps=null", "steps=None: must be an integer"),
            ("steps=83", "steps=83: the run has 82 steps; choose fewer, or lengthen the run"),
            ("seed=-1", "seed=-1: must be an integer from 0"),
            ("output_dir=taken", "output_dir=taken: exists and is not empty"),
            ("output_dir=taken/file", "output_dir=taken/file: exists and is not empty"),
            ("output_dir=taken/file/below", "nothing can be written into"),
            ("clipping=none", "clipping: no such choice here"),
            ("optimizer.lr=-1", "optimizer: Invalid learning rate"),
            (
                "steps=60 optimizer=sgd optimizer.lr=1e30",
                "steps=60: training without clipping broke down at step ",
            ),
            ("run_dir=here", "run_dir: no such key here"),
            ("+trainer.gradient_clip_val=1", "would clip beside"),
        ],
        2,
    ),
)
def test_wrong_values(small, empty_folder, override, expected):
    (empty_folder / "taken").mkdir()
    (empty_folder / "taken" / "file").write_text("")
    assert expected in refused("advise", *small, *override.split())
