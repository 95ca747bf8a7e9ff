"""The temporal order problem: its sequences, its network, a run that solves it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from apps.run.folder import RunFolder
from apps.synthetic.temporal_order.data import SequenceData, Sequences
from apps.synthetic.temporal_order.model import PlainRNN
from tests.apps.runs import assert_same_run, metrics, steps
from tests.conftest import refused, succeed

PROBLEM = ("experiment=pascanu2013", "logger=none")


@pytest.mark.parametrize("length", [10, 25, 100])
def test_two_marks_stand_where_they_belong_and_say_the_class(length):
    symbols, classes = Sequences(length).draw(np.random.default_rng(0), 5_000)
    assert symbols.shape == (5_000, length)
    rows, places = torch.nonzero(symbols < 2, as_tuple=True)
    assert torch.equal(rows.bincount(), torch.full((5_000,), 2))
    first, second = places.reshape(-1, 2).T
    tenth = length // 10
    assert set(first.tolist()) == set(range(tenth, 2 * tenth))
    assert set(second.tolist()) == set(range(length // 2, length // 2 + tenth))
    marks = symbols[rows, places].reshape(-1, 2)
    assert torch.equal(classes, 2 * marks[:, 0] + marks[:, 1])
    assert torch.allclose(classes.bincount() / 5_000, torch.tensor(0.25), atol=0.03)
    distractors = symbols[symbols > 1].bincount(minlength=6)[2:]
    assert torch.allclose(distractors / distractors.sum(), torch.tensor(0.25), atol=0.02)


def test_what_is_held_out_is_the_same_for_every_seed_and_never_trained_on():
    data = [
        SequenceData(Sequences(20), batch_size=20, steps_per_epoch=2, seed=seed) for seed in (0, 1)
    ]
    for each in data:
        each.setup("fit")
    assert torch.equal(data[0].test[0], data[1].test[0])
    assert [len(classes) for _, classes in (data[0].val, data[0].test)] == [1_000, 10_000]
    trained = {tuple(row) for batch, _ in data[0].train_dataloader() for row in batch.tolist()}
    assert not trained & {tuple(row) for row in data[0].test[0].tolist()}


def test_smart_tanh_starts_at_the_papers_spectral_radius_with_few_connections():
    torch.manual_seed(0)
    weight = PlainRNN(6, 4, hidden_size=50, start="smart_tanh").rnn.weight_hh_l0.detach()
    radius = np.abs(np.linalg.eigvals(weight.numpy().astype(np.float64))).max()
    assert radius == pytest.approx(0.95, abs=1e-4)
    assert (weight != 0).sum(0).tolist() == [15] * 50


def test_the_network_is_a_tanh_recurrence():
    torch.manual_seed(0)
    net = PlainRNN(6, 4, hidden_size=7, start="basic_tanh")
    symbols = torch.randint(6, (3, 5))
    state = torch.zeros(3, 7)
    for column in symbols.T:
        given = net.rnn.weight_ih_l0[:, column].T
        state = torch.tanh(given + state @ net.rnn.weight_hh_l0.T)
    assert torch.allclose(net(symbols), state @ net.head.weight.T, atol=1e-6)


def test_clipping_solves_at_a_rate_at_which_plain_sgd_learns_nothing(tmp_path):
    found = {}
    for clipping in ("global_norm", "none"):
        run = tmp_path / clipping
        quick = (
            "data.length=10",
            "optimizer.lr=0.5",
            "app.steps_per_epoch=50",
            "training.epochs=8",
        )
        succeed("train", *PROBLEM, *quick, f"clipping={clipping}", f"run_dir={run}")
        found[clipping] = metrics(run)
    assert found["global_norm"]["test"]["solved"] == 100
    assert found["global_norm"]["steps"] < 400, "the run ends when it has solved the problem"
    assert found["none"]["test"]["solved"] == 0
    assert found["none"]["test"]["error"] > 40
    assert found["none"]["status"] == "completed", "to learn nothing is a result here"


def test_a_resumed_run_is_the_run_that_was_not_interrupted(tmp_path):
    small = ("data.length=10", "app.steps_per_epoch=10", "model.hidden_size=5")
    succeed("train", *PROBLEM, *small, "training.epochs=4", f"run_dir={tmp_path / 'whole'}")
    part = tmp_path / "part"
    succeed("train", *PROBLEM, *small, "training.epochs=2", f"run_dir={part}")
    config = part / "config.yaml"
    config.write_text(config.read_text().replace("epochs: 2", "epochs: 4"))
    (part / "metrics.json").unlink()
    succeed("train", f"resume={part}")
    assert_same_run(tmp_path / "whole", part)
    assert steps(part)["loss"].nunique() > 30, "each step draws its own batch; few losses agree"


def test_an_experiment_names_the_application_that_has_it(tmp_path):
    small = ("data.length=10", "app.steps_per_epoch=2", "training.epochs=1")
    succeed("train", *PROBLEM, *small, f"run_dir={tmp_path / 'run'}")
    assert RunFolder(tmp_path / "run").config().app.name == "temporal_order"
    scores = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    assert scores.keys() == {"solved", "error"}


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("data.length=9", "length must be an integer >= 10, got 9"),
        ("app.batch_size=0", "batch_size=0, steps_per_epoch=250: both must be >= 1"),
        ("model.start=warm", "'smart_tanh' or 'basic_tanh'"),
        ("app=energy", "experiment=pascanu2013: unknown; known: autoclip"),
    ],
)
def test_a_mistake_is_one_line(argument, expected, empty_folder):
    assert expected in refused("train", *PROBLEM, argument)
