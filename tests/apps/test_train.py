"""A training run: repeatable, diverging as a result, and what it leaves behind."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from apps.energy.regression_encoding import read_encoding
from apps.run.folder import RunFolder
from tests.apps.runs import assert_same_run, metrics, steps, weights
from tests.conftest import run_verb, succeed

# Weights of this size overflow in the very next forward pass.
DIVERGING = ("optimizer=sgd", "optimizer.lr=1e30", "optimization.schedule=constant")


def test_same_configuration_and_seed_give_the_same_run(train, trained):
    assert_same_run(train(), trained)


def test_another_seed_gives_another_run(train, trained):
    other = train("seed=1")
    mine, theirs = weights(other), weights(trained)
    assert any(not torch.equal(mine[name], theirs[name]) for name in mine)
    assert steps(other)["loss"].iloc[0] != steps(trained)["loss"].iloc[0]


def test_the_run_folder_holds_what_it_promises(train, tiny):
    run = train("logger=csv", "clipping=autoclip", "optimizer=rmsprop", "seed=3")
    folder = RunFolder(run)
    assert {path.name for path in run.iterdir()} == {
        "account.txt",
        "config.yaml",
        "data.json",
        "checkpoints",
        "steps.csv",
        "epochs.csv",
        "predictions.parquet",
        "metrics.json",
        "logs",
        ".lock",
    }
    assert {path.name for path in folder.checkpoints.iterdir()} == {"best.ckpt", "last.ckpt"}
    config = folder.config()
    assert OmegaConf.select(config, "trainer.max_epochs") == 2, "the configuration is resolved"
    assert config.choices.clipping == "autoclip"
    assert config.choices.optimizer == "rmsprop"
    assert read_encoding(folder.description()).covariates == ("temperature",)
    assert list(pd.read_csv(folder.epochs)["epoch"]) == [0, 1, 2]
    record = metrics(run)
    assert (record["app"], record["clipping"], record["seed"]) == ("energy", "autoclip", 3)
    assert (record["status"], record["diverged_at"], record["error"]) == ("completed", None, None)
    assert record["steps"] == len(steps(run)) == 4
    assert all(math.isfinite(value) for value in record["test"].values())


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_weights_kept_are_the_best_by_validation_loss_or_the_last(train, keep):
    # The rate is so high that the last epoch is worse than the one before.
    settings = ["training.epochs=4", "optimizer.lr=0.5", "optimization.schedule=constant", "seed=2"]
    run = train(*settings, f"training.keep={keep}")
    losses = pd.read_csv(run / "epochs.csv")["val_loss"].iloc[1:].to_numpy()
    assert losses.argmin() < 3
    kept = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert kept["epoch"] == (losses.argmin() if keep == "best" else 3)
    assert metrics(run)["val_loss"] == losses[kept["epoch"]]


def test_checkpoints_hold_no_configuration_and_no_clipper(trained):
    state = weights(trained)
    assert state
    assert all(name.startswith("net.") for name in state)


def test_a_default_folder_is_made_and_told(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = succeed("train", *tiny, "clipping=value")
    (run,) = tmp_path.glob("runs/energy/*/*")
    assert run.name.endswith("value-seed0")
    assert f"run folder: {run.relative_to(tmp_path)}" in out
    assert "epoch   2/2" in out


def test_a_number_may_name_the_folder(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    succeed("train", *tiny, "run_dir=2024")
    assert "completed" in succeed("train", "resume=2024")


def test_divergence_is_a_result(train):
    record = metrics(run := train(*DIVERGING, "clipping=none"))
    assert record["status"] == "diverged"
    assert 1 <= record["diverged_at"] <= record["steps"]
    assert record["test"]["wql"] is None
    table = steps(run)
    at = table["step"] == record["diverged_at"]
    assert not table.loc[at, "loss"].map(math.isfinite).any()
    assert table.loc[table["step"] < record["diverged_at"], "loss"].map(math.isfinite).all()


def test_a_run_ending_worse_than_untrained_has_diverged(train):
    record = metrics(train("optimizer=sgd", "optimizer.lr=1000", "training.epochs=1"))
    assert record["status"] == "diverged"
    assert record["error"].startswith("the validation loss ended above that of the untrained")
    assert math.isfinite(record["test"]["wql"])


@pytest.mark.parametrize(("lives", "expected"), [("1100", 2), ("1001", None), ("0111", None)])
def test_forecasts_that_are_dead_at_the_end_are_a_divergence(train, monkeypatch, lives, expected):
    from apps.energy.application import Energy
    from apps.energy.task import ForecastTask

    answers = iter(lives)
    loss = ForecastTask.loss

    def judged(self, batch):
        if self.training:
            self.alive = torch.tensor(next(answers) == "1")
        return loss(self, batch)

    def explain(self, data, steps, diverged_at):
        return f"dead from step {diverged_at} of {len(steps)}"

    monkeypatch.setattr(ForecastTask, "loss", judged)
    monkeypatch.setattr(Energy, "explain", explain)
    record = metrics(train())
    assert record["diverged_at"] == expected
    assert record["error"] == (None if expected is None else "dead from step 2 of 4")


@pytest.mark.parametrize("guard", ["nonfinite=raise", "patience=1"])
def test_a_guard_that_gives_up_is_a_result(train, guard):
    run = train(*DIVERGING, f"clipping.{guard}")
    record = metrics(run)
    assert record["status"] == "diverged"
    assert "non-finite gradient" in record["error"]
    assert record["steps"] == record["diverged_at"] == len(steps(run)) >= 1


def test_skipped_steps_leave_the_weights_finite(train):
    run = train(*DIVERGING, "clipping.nonfinite=skip")
    assert metrics(run)["skipped"] == steps(run)["skipped"].sum() >= 1


def test_a_diverged_run_is_told_in_words(tiny, tmp_path):
    out = succeed("train", *tiny, *DIVERGING, "clipping=none", f"run_dir={tmp_path / 'run'}")
    assert "diverged at step" in out
    assert "wql n/a" in out


@pytest.mark.usefixtures("empty_folder")
def test_training_data_that_no_run_could_go_on_with(tiny, monkeypatch):
    from torch.utils.data import DataLoader

    from apps.energy.data import SeriesData

    monkeypatch.setattr(SeriesData, "train_dataloader", lambda self: DataLoader([1, 2]))
    with pytest.raises(TypeError, match=r"^SeriesData\.train_dataloader must return a TrainLoader"):
        run_verb("train", *tiny, "run_dir=r")
