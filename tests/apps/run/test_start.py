"""Training that begins with the weights of another run."""

from __future__ import annotations

import pytest

from tests.apps.runs import weights
from tests.conftest import refused, succeed

ASLEEP = ["optimizer.lr=0", "training.epochs=1"]  # what training began with is what it ends with


def test_training_begins_with_the_weights_of_a_run(tiny, trained, tmp_path):
    given = [f"+training.start_from={trained}", *ASLEEP, "seed=1", f"run_dir={tmp_path / 'run'}"]
    out = succeed("train", *tiny, *given)
    assert f"parameters from {trained}; new: none" in out
    before, after = weights(trained), weights(tmp_path / "run", "last")
    assert before.keys() == after.keys()
    assert all(before[name].equal(after[name]) for name in before)


def test_layers_of_another_shape_stay_as_they_were_drawn(tiny, trained, tmp_path):
    fewer = [item for item in tiny if not item.startswith("data.known")] + ["data.known=[]"]
    path = tmp_path / "run"
    given = [f"+training.start_from={trained}", *ASLEEP, f"run_dir={path}"]
    out = succeed("train", *fewer, *given)
    assert "; new: net.weight_change, net.mixing.0.weight\n" in out
    before, after = weights(trained), weights(path, "last")
    assert before["net.mixing.0.weight"].shape != after["net.mixing.0.weight"].shape
    for name in ("net.mixing.0.bias", "net.head.output.weight", "net.bias_change"):
        assert before[name].equal(after[name])
    # What the closed form set is of these data.
    assert not before["net.bias"].equal(after["net.bias"])


@pytest.mark.usefixtures("empty_folder")
def test_runs_that_do_not_fit_are_refused_in_one_line(tiny, trained, tmp_path):
    other = [item for item in tiny if not item.startswith("model.")] + ["model=lstm"]
    line = refused("train", *other, f"+training.start_from={trained}")
    assert "its features have _target_=" in line
    line = refused("train", "app=temporal_order", f"+training.start_from={trained}")
    assert "a run of app=energy, not of app=temporal_order" in line
    assert "none: no such folder" in refused("train", *tiny, "+training.start_from=none")
    assert "training.start_from" in refused("train", *tiny, "+training.start_from=true")
