"""The clipping record against a loop written by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from apps.run.experiment import Experiment
from apps.run.folder import RunFolder
from gradclip_core import ClipNorm
from tests.apps.runs import steps

FIELDS = ["loss", "lr", "norm", "clipped_norm", "coefficient", "threshold", "clip_rate"]


def by_hand(config, accumulate: int, max_norm: float) -> pd.DataFrame:
    """Train as `apps.run.training` does, in a plain loop."""
    experiment = Experiment(config)
    net, data, task = experiment.task.net, experiment.data, experiment.task
    task.train()
    optimizer = torch.optim.SGD(net.parameters(), lr=config.optimizer.lr, momentum=0.9)
    clipper = ClipNorm(max_norm)
    rows = []
    loader = data.train_dataloader()
    for epoch in range(config.training.epochs):
        loader.sampler.set_epoch(epoch)
        batches = list(loader)
        for start in range(0, len(batches), accumulate):
            window = batches[start : start + accumulate]
            optimizer.zero_grad()
            losses = [task.loss(batch) for batch in window]
            for loss in losses:
                (loss / accumulate).backward()
            report = clipper(net.named_parameters()).as_dict()
            row = {"step": len(rows), "epoch": epoch + 1, "lr": config.optimizer.lr}
            rows.append(row | report | {"loss": sum(loss.item() for loss in losses) / len(losses)})
            optimizer.step()
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("accumulate", "expected"), [(1, 10), (2, 6)])
def test_one_row_for_each_step_with_its_values(train, accumulate, expected):
    # Five batches of 16: with two to a step the last window of an epoch holds one alone.
    run = train(
        "app.batch_size=16",
        "app.samples_per_epoch=80",
        "optimizer=sgd",
        "optimization.schedule=constant",
        "clipping.max_norm=0.05",
        "model.dropout=0",
        f"trainer.accumulate_grad_batches={accumulate}",
    )
    ours, hand = steps(run), by_hand(RunFolder(run).config(), accumulate, max_norm=0.05)
    assert len(ours) == expected
    for name in ("step", "epoch", "clipped", "skipped"):
        assert list(ours[name]) == list(hand[name])
    assert list(ours["worst_parameter"]) == [f"net.{name}" for name in hand["worst_parameter"]]
    pd.testing.assert_frame_equal(ours[FIELDS], hand[FIELDS], rtol=1e-4)
    assert 0 < ours["clipped"].mean() <= 1
    epochs = pd.read_csv(run / "epochs.csv")
    assert math.isnan(epochs["train_loss"][0])
    assert list(epochs["train_loss"][1:]) == pytest.approx(
        list(ours.groupby("epoch")["loss"].mean())
    )
    assert list(epochs["step"]) == [0, expected // 2, expected]


def test_the_schedule_is_in_the_record(train):
    rates = steps(
        train("optimization.schedule=cosine", "optimizer=sgd", "optimizer.lr=0.1", "seed=5")
    )["lr"]
    expected = [0.05 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]
    assert list(rates) == pytest.approx(expected)


def test_unclipped_runs_have_the_same_record(train):
    table = steps(run := train("clipping=none"))
    assert (table["norm"] == table["clipped_norm"]).all()
    assert not table["clipped"].any()
    assert table["threshold"].map(math.isinf).all()
    assert OmegaConf.select(RunFolder(run).config(), "choices.clipping") == "none"
