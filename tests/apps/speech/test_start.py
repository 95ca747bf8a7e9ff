"""A recogniser that begins with the encoder of another."""

from __future__ import annotations

import pytest

from tests.apps.runs import weights
from tests.conftest import refused, succeed


@pytest.fixture(scope="module")
def spelt(tones, tmp_path_factory):
    """A run that spells the tones; read only."""
    path = tmp_path_factory.mktemp("spelt") / "run"
    own = [item for item in tones if not item.startswith("data.units")]
    succeed("train", *own, "data.units=characters", f"run_dir={path}")
    return path


def test_an_encoder_is_taken_over_to_another_vocabulary(tones, spelt, tmp_path):
    given = [f"training.start_from={spelt}", "optimizer.lr=0", f"run_dir={tmp_path / 'run'}"]
    out = succeed("train", *tones, *given)
    assert "; new: net.output.weight, net.output.bias\n" in out
    before, after = weights(spelt), weights(tmp_path / "run", "last")
    assert len(before["net.output.bias"]) == 9
    assert len(after["net.output.bias"]) == 4
    for name in set(after) - {"net.output.weight", "net.output.bias"}:
        assert before[name].equal(after[name])


@pytest.mark.usefixtures("empty_folder")
@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("features.normalize=speaker", "have normalize=utterance, not normalize=speaker"),
        ("features.num_bands=20", "have num_bands=40, not num_bands=20"),
        ("model.num_layers=1 model.hidden_size=8", "none of its layers has the shape of one here"),
    ],
)
def test_an_encoder_that_does_not_fit_is_refused(tones, spelt, override, expected):
    own = [item for item in tones if not item.startswith("model.")]
    given = [f"training.start_from={spelt}", *override.split()]
    assert expected in refused("train", *own, *given)
