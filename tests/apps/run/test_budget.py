"""How long is trained on little data, and whether it was long enough."""

from __future__ import annotations

import pytest

from apps.run.folder import RunFolder
from apps.run.history import RunHistory
from tests.apps.runs import metrics, steps
from tests.conftest import succeed


def test_little_data_is_trained_on_for_more_epochs(tiny, tmp_path):
    settings = ["training.epochs=2", "+training.min_steps=15", "clipping=none"]
    account = succeed("train", *tiny, *settings, f"run_dir={tmp_path / 'run'}")
    per_epoch = metrics(tmp_path / "run")["steps"] // len(set(steps(tmp_path / "run")["epoch"]))
    assert 15 <= metrics(tmp_path / "run")["steps"] < 15 + per_epoch
    assert f"epochs, not 2: one has {per_epoch} steps, and training.min_steps=15" in account
    assert "training.min_steps=15" in (tmp_path / "run" / "account.txt").read_text()


def test_enough_data_is_trained_on_for_the_epochs_that_were_asked_for(tiny, tmp_path):
    settings = ["training.epochs=2", "+training.min_steps=2", "clipping=none"]
    account = succeed("train", *tiny, *settings, f"run_dir={tmp_path / 'run'}")
    assert len(set(steps(tmp_path / "run")["epoch"])) == 2
    assert "min_steps" not in account


@pytest.mark.parametrize(
    ("losses", "falling"),
    [
        ([4.0, 3.0, 2.0, 1.0, 0.5], True),
        ([4.0, 1.0, 0.9, 0.89, 0.88], False),  # the last epochs brought next to nothing
        ([4.0, 2.0, 1.0, 0.5, 0.9], False),  # it rose again
        ([4.0, 5.0, 5.0, 5.0, 4.5], False),  # it never fell below the start
        ([4.0, 3.0, 2.0, float("nan"), 1.0], False),
        ([4.0, 3.0], False),  # of one epoch nothing can be said
    ],
)
def test_a_validation_loss_that_still_falls_is_told(tmp_path, losses, falling):
    history = RunHistory(RunFolder(tmp_path))
    history._epochs = [{"val_loss": loss} for loss in losses]
    assert history.is_falling is falling
