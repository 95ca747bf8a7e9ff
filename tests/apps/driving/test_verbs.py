"""Driving through the verbs: training, resuming, evaluating, faults, mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from tests.apps.runs import metrics, steps, weights
from tests.conftest import refused, succeed

SMALL = (
    "app=driving",
    "model.hidden_size=8",
    "data.seconds=5",
    "data.validation=4",
    "data.test=8",
    "app.learning.episodes=4",
    "app.learning.passes=2",
    "app.learning.minibatches=2",
    "app.rollouts_per_epoch=2",
    "training.epochs=2",
    "optimization.schedule=constant",
    "logger=none",
)


def train(folder: Path, *overrides: Any) -> Path:
    succeed("train", *SMALL, *overrides, f"run_dir={folder}")
    return folder


def test_a_run_is_made_repeated_and_continued(tmp_path: Path) -> None:
    run = train(tmp_path / "run")
    record = metrics(run)
    assert record["status"] == "completed"
    assert record["steps"] == len(steps(run)) == 16
    assert steps(run)["loss"].nunique() == 16
    assert {"score", "collisions", "gap_rmse", "score_dense"} <= record["test"].keys()
    # The first pass of a rollout begins with the policy that drove it.
    divergence = steps(run)["kl"]
    assert divergence.notna().all()
    assert divergence.iloc[0] == pytest.approx(0.0, abs=1e-6)
    assert divergence.max() > 0
    table = pd.read_parquet(run / "predictions.parquet")
    assert table["split"].value_counts().to_dict() == {"test": 8, "dense": 8}
    part = train(tmp_path / "part", "training.epochs=1")
    config = part / "config.yaml"
    config.write_text(config.read_text().replace("epochs: 1\n", "epochs: 2\n"))
    (part / "metrics.json").unlink()
    succeed("train", f"resume={part}")
    assert metrics(part) == record
    for name in ("steps.csv", "epochs.csv", "data.json"):
        assert (part / name).read_text() == (run / name).read_text()
    mine, theirs = weights(run), weights(part)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_seeds_differ_and_share_their_tests(tmp_path: Path) -> None:
    runs = [train(tmp_path / str(seed), f"seed={seed}", "training.epochs=1") for seed in (0, 1)]
    first, second = (steps(run)["loss"] for run in runs)
    assert first.iloc[0] != second.iloc[0]


@pytest.mark.parametrize("model", ["gru", "rnn", "mlp"])
def test_every_network_trains(model: str, tmp_path: Path) -> None:
    run = train(tmp_path / "run", f"model={model}", "training.epochs=1")
    assert metrics(run)["status"] == "completed"


@pytest.mark.parametrize(
    "settings",
    [
        ("stress=outliers", "callbacks.stress.every=2"),
        ("stress=label_noise", "callbacks.stress.share=1"),
    ],
    ids=["outliers", "label_noise"],
)
def test_faults_change_what_is_learnt(settings: tuple[str, ...], tmp_path: Path) -> None:
    clean = train(tmp_path / "clean", "training.epochs=1", "clipping=none")
    spoilt = train(tmp_path / "spoilt", "training.epochs=1", "clipping=none", *settings)
    assert not steps(clean)["loss"].equals(steps(spoilt)["loss"])


@pytest.mark.parametrize(
    ("stress", "expected"), [("raw_rewards", "collision: 100"), ("occlusion", "occluded: 0.4")]
)
def test_a_stress_of_its_own_is_in_the_configuration(
    stress: str, expected: str, tmp_path: Path
) -> None:
    run = train(tmp_path / "run", f"stress={stress}", "training.epochs=1")
    assert expected in (run / "config.yaml").read_text()


def test_evaluation_gives_the_score_again_beside_the_baselines(tmp_path: Path) -> None:
    run = train(tmp_path / "run")
    out = succeed("evaluate", f"run={run}")
    for name in ("constant_speed", "tracker_idm", "idm_mobil_privileged"):
        assert name in out
    assert f"{metrics(run)['test']['score']:.1f}" in out


@pytest.mark.slow  # the report takes most of it; its table and the runs have tests of their own
def test_a_comparison_tells_how_sure_its_differences_are(tmp_path: Path) -> None:
    place = f"output_dir={tmp_path / 'report'}"
    short = ("training.epochs=1", "clipping=[none,global_norm]", "seeds=1", "jobs=1")
    succeed("compare", *SMALL, *short, place)
    text = (tmp_path / "report" / "report.md").read_text()
    assert "Score against other drivers, scenario by scenario" in text
    assert "idm_mobil_privileged" in text
    drawn = {path.stem for path in (tmp_path / "report" / "figures").glob("*.png")}
    assert {"driving_strip", "space_time", "score_collisions", "policy_kl"} <= drawn


def test_advice_on_its_first_steps(tmp_path: Path) -> None:
    out = succeed(
        "advise", *SMALL[:-1], "training.epochs=8", "steps=50", f"output_dir={tmp_path / 'advice'}"
    )
    assert "50 steps" in out


def test_clipping_by_episodes(tmp_path: Path) -> None:
    run = train(tmp_path / "run", "clipping=per_sample", "model=mlp", "training.epochs=1")
    assert metrics(run)["status"] == "completed"
    assert steps(run)["kl"].notna().all()


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("data.lanes=1", "lanes=1"),
        ("data.sensor.occluded=1", "occluded must be a share"),
        ("data.density=[2,1]", "density must be two rising numbers"),
        ("app.learning.minibatches=9", "no more minibatches than episodes"),
        ("app.learning.ratio=0", "ratio > 0"),
        ("app.reward.collision=-1", "collision=-1"),
        ("app.rollouts_per_epoch=0", "rollouts_per_epoch must be an integer >= 1, got 0"),
        ("model.cell=transformer", "'lstm', 'gru' or 'rnn'"),
        ("trainer=ddp_cpu", "does not divide its training data"),
        ("stress=long_sequences", "stress=long_sequences"),
    ],
)
def test_a_mistake_is_one_line(argument: str, expected: str, empty_folder: Path) -> None:
    assert expected in refused("train", *SMALL, argument)
