"""Every preset from the command line: gradients that go wrong, and runs that are cut in two."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from apps import CONF
from tests.apps.run.test_resume import Killed, interrupted
from tests.apps.runs import assert_same_run, metrics, steps, weights
from tests.conftest import run_verb, succeed
from tests.presets import suited, with_policy

CLIPPING = sorted(path.stem for path in (CONF / "clipping").glob("*.yaml"))
# Ten steps of which every second goes wrong, the first four in each way.
BROKEN = (
    "training.epochs=2",
    "app.samples_per_epoch=160",
    "+callbacks.faults={_target_: apps.run.stress.GradientFaults, scales: [nan, inf, 0.0, 1e30]}",
)


def finite(run: Path) -> bool:
    return all(bool(value.isfinite().all()) for value in weights(run, "last").values())


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["skip", "zero"])
@pytest.mark.parametrize("name", [name for name in CLIPPING if name != "none"])
def test_training_survives_any_gradient(train, name, policy):
    run = train(*suited(name), *with_policy(name, policy), *BROKEN)
    record = steps(run)
    assert finite(run)
    assert len(record) == 10
    assert record["loss"].map(math.isfinite).all()
    assert record["skipped"][[1, 3]].all() == (policy == "skip")


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIPPING)
def test_a_policy_that_raises_names_the_tensors(tiny, tmp_path, name):
    run = tmp_path / "run"
    ended = run_verb(
        "train", *tiny, *suited(name), *with_policy(name, "raise"), *BROKEN, f"run_dir={run}"
    )
    assert ended.code == 0, ended.err
    assert "diverged at step 1 (non-finite gradient in net." in ended.out
    assert metrics(run)["status"] == "diverged"


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIPPING)
def test_what_passes_is_a_result_not_a_crash(train, name):
    run = train(*suited(name), *with_policy(name, "pass"), *BROKEN)
    assert metrics(run)["status"] in ("completed", "diverged")
    assert (metrics(run)["status"] == "diverged") or finite(run)


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIPPING)
def test_a_run_cut_in_two_equals_the_whole(monkeypatch, tiny, tmp_path, name):
    settings = [*tiny, *suited(name), "training.epochs=4", "model.dropout=0.3"]
    succeed("train", *settings, f"run_dir={tmp_path / 'whole'}")
    interrupted(monkeypatch, 5, Killed, *settings, f"run_dir={tmp_path / 'cut'}")
    succeed("train", f"resume={tmp_path / 'cut'}")
    assert_same_run(tmp_path / "cut", tmp_path / "whole")
    one, other = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)
        for name in ("cut", "whole")
    )
    assert_same_state(one["callbacks"]["GradientClipping"], other["callbacks"]["GradientClipping"])


def assert_same_state(one: object, other: object) -> None:
    """Two nested states hold the same tensors, to the last bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same_state(one[key], other[key])
    elif isinstance(one, torch.Tensor):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    else:
        assert one == other
