"""Training in several processes: the record and scores of the joint batch, written once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.apps.processes import SCRIPT, TRAINERS, start
from tests.apps.runs import assert_same_run, metrics, steps, weights
from tests.conftest import refused, succeed

# What breaks off at the third step.
BREAKING = """
from apps.run.history import RunHistory

class Killed(BaseException):
    pass

def hook(self, trainer, *rest):
    if trainer.global_step == 3:
        raise Killed

RunHistory.on_train_batch_start = hook
"""
# Steps that depend on the clipper's state; no dropout, which every process draws for itself.
SETTINGS = ("clipping=autoclip", "model.dropout=0", "seed=3", "app.samples_per_epoch=128")

IN_TWO = {"ddp": TRAINERS["ddp"], "fsdp": (*TRAINERS["fsdp"], "~callbacks.averaging")}


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "gradclip-train"
    path.write_text(SCRIPT)
    return path


def assert_close_runs(one: Path, other: Path) -> None:
    """Two runs left the same files, and in them the same numbers to within rounding."""
    assert {p.relative_to(one) for p in one.rglob("*")} == {
        p.relative_to(other) for p in other.rglob("*")
    }
    for name in ("steps.csv", "epochs.csv"):
        mine, theirs = pd.read_csv(one / name), pd.read_csv(other / name)
        pd.testing.assert_frame_equal(mine, theirs, rtol=1e-4, atol=1e-6)
    mine, theirs = (
        pd.read_parquet(one / "predictions.parquet"),
        pd.read_parquet(other / "predictions.parquet"),
    )
    pd.testing.assert_frame_equal(mine, theirs, rtol=1e-4)
    np.testing.assert_allclose(
        list(metrics(one)["test"].values()), list(metrics(other)["test"].values()), rtol=1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize("trainer", IN_TWO.values(), ids=IN_TWO)
def test_two_processes_are_one_with_the_joint_batch(script, tiny, train, tmp_path, trainer):
    left_out = [override for override in trainer if override.startswith("~")]
    # Adam makes whole steps of gradients that are nothing but rounding.
    settings = [*SETTINGS, "optimizer=sgd", "optimizer.fused=false"]
    one = train(*settings, *left_out, "app.batch_size=32", name="one")
    run = tmp_path / "two"
    ended = start(script, *tiny, *settings, *trainer, "app.batch_size=16", f"run_dir={run}")
    assert ended.code == 0, ended.err
    assert ended.err == ""
    assert ended.out.count("held-out test") == ended.out.count("epoch   2/2") == 1
    assert steps(run)["clipped"].any()
    assert_close_runs(run, one)
    assert weights(run).keys() == weights(one).keys()


@pytest.mark.slow
@pytest.mark.parametrize("trainer", IN_TWO.values(), ids=IN_TWO)
def test_a_killed_run_of_two_processes_continues(script, tiny, tmp_path, trainer):
    settings = [*tiny, *SETTINGS, *trainer, "model.dropout=0.3", "app.batch_size=32"]
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert start(script, *settings, f"run_dir={whole}").code == 0
    script.write_text(BREAKING + SCRIPT)
    assert start(script, *settings, f"run_dir={run}").code != 0
    assert not (run / "metrics.json").exists()
    script.write_text(SCRIPT)
    ended = start(script, f"resume={run}")
    assert ended.code == 0, ended.err
    assert_same_run(run, whole)


def test_a_default_folder_is_made_once(script, tiny):
    ended = start(script, *tiny, "trainer=ddp_cpu", "training.epochs=1")
    assert ended.code == 0, ended.err
    (run,) = script.parent.glob("runs/energy/*/*")
    assert json.loads((run / "metrics.json").read_text())["steps"] == len(steps(run))


@pytest.mark.slow
@pytest.mark.parametrize("guard", ["nonfinite=raise", "nonfinite=skip"])
def test_divergence_ends_every_process(script, tiny, tmp_path, guard):
    diverging = ("optimizer=sgd", "optimizer.lr=1e30", "optimization.schedule=constant")
    run = tmp_path / "run"
    ended = start(
        script, *tiny, *diverging, "trainer=ddp_cpu", f"clipping.{guard}", f"run_dir={run}"
    )
    assert ended.code == 0, ended.err
    assert metrics(run)["steps"] == len(steps(run)) >= 1
    assert metrics(run)["status"] == "diverged"


@pytest.mark.slow
def test_a_comparison_trains_each_run_in_two_processes(tiny, tmp_path):
    few = ("clipping=[global_norm]", "seeds=1", "trainer=ddp_cpu", "training.epochs=1")
    succeed("compare", *tiny, *few, f"output_dir={tmp_path}")
    runs = json.loads((tmp_path / "results.json").read_text())["grid"]["runs"]
    assert [run["status"] for run in runs] == ["completed", "completed"]
    for run in runs:
        folder = tmp_path / run["run_dir"]
        assert "strategy: ddp" in (folder / "config.yaml").read_text()
        assert metrics(folder)["steps"] == len(steps(folder)) >= 1


@pytest.mark.usefixtures("empty_folder")
class TestRefusals:
    def test_several_runs(self, tiny):
        line = refused("train", "--multirun", *tiny, "seed=0,1", "trainer.devices=2")
        assert "--multirun" in line
        assert "2 processes" in line

    def test_averaging_beside_shards(self, tiny):
        line = refused("train", *tiny, "trainer=fsdp", "trainer.accelerator=cpu")
        assert "~callbacks.averaging" in line

    @pytest.mark.parametrize(
        ("optimizer", "name"),
        [
            (["optimizer=sgd"], "SGD"),
            (["optimizer=sgd", "optimizer._target_=torch.optim.sgd.SGD"], "SGD"),
            (["optimizer=adagrad"], "Adagrad"),
        ],
    )
    def test_a_fused_step_that_knows_no_shards(self, tiny, optimizer, name):
        sharded = ("trainer=fsdp", "trainer.accelerator=cpu", "~callbacks.averaging")
        line = refused("train", *tiny, *sharded, *optimizer)
        assert "optimizer.fused=true: trainer=fsdp shards the network" in line
        assert f"no fused {name}; take optimizer.fused=false" in line

    def test_machines_that_nothing_says_the_place_of(self, tiny, monkeypatch):
        monkeypatch.delenv("MASTER_ADDR", raising=False)
        line = refused("train", *tiny, "++trainer.num_nodes=2")
        assert "trainer.num_nodes=2: nothing says where the others are" in line
        assert "SLURM or torchrun, or set MASTER_ADDR" in line

    def test_data_that_are_not_divided(self, tiny, monkeypatch):
        from apps.base.sampler import TrainLoader
        from apps.energy.data import SeriesData

        monkeypatch.setattr(SeriesData, "train_dataloader", lambda self: TrainLoader([1, 2]))
        line = refused("train", *tiny, "trainer=ddp_cpu")
        assert "app=energy does not divide its training data" in line
