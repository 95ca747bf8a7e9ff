"""Stress on purpose: what is trained on is spoilt, the same for all; what is scored is not."""

from __future__ import annotations

import functools

import pandas as pd
import pytest
import torch
from torch import nn

from apps.base.task import Optimization
from apps.cli.compose import compose_run
from apps.energy.task import ForecastTask
from apps.finance.heads import Head
from apps.finance.task import VolatilityTask
from apps.run.stress import LabelNoise, LongSequences, OutlierBatches
from apps.run.trainer import make_trainer
from apps.sentiment.task import SentimentTask
from apps.speech.batches import Batch
from apps.speech.task import CTCTask
from apps.synthetic.low_rank_noise.task import Matrices, MatricesTask
from apps.synthetic.noisy_quadratic.task import QuadraticTask
from apps.synthetic.temporal_order.task import OrderTask
from tests.apps.runs import assert_same_run, steps
from tests.conftest import refused, succeed

STILL = ("optimizer=sgd", "optimizer.lr=0.0", "training.epochs=3")
OPTIMIZATION = Optimization(functools.partial(torch.optim.SGD, lr=0.1))


def losses(run):
    return steps(run)["loss"].tolist()


def test_outliers_come_when_it_is_their_turn_and_for_every_strategy(train):
    often = ("stress=outliers", "callbacks.stress.every=2")
    clean = losses(train(*STILL, name="clean"))
    spoilt = losses(train(*STILL, *often, "clipping=none", name="none"))
    assert spoilt == losses(train(*STILL, *often, "clipping=global_norm", name="clipped"))
    assert spoilt[0::2] == clean[0::2]
    assert all(hit > 10 * calm for hit, calm in zip(spoilt[1::2], clean[1::2], strict=True))


def test_label_noise_spoils_every_batch_and_no_validation(train):
    clean, spoilt = train(*STILL, name="clean"), train(*STILL, "stress=label_noise", name="noisy")
    assert not set(losses(clean)) & set(losses(spoilt))
    validated = [pd.read_csv(run / "epochs.csv")["val_loss"].tolist() for run in (clean, spoilt)]
    assert validated[0] == validated[1], "with weights that never move, it is what it was"


def test_a_resumed_run_meets_the_same_faults(train, tmp_path):
    often = ("stress=outliers", "callbacks.stress.every=3", "optimization.schedule=constant")
    whole = train(*often, "training.epochs=4", name="whole")
    part = train(*often, name="part")
    config = part / "config.yaml"
    config.write_text(config.read_text().replace("epochs: 2", "epochs: 4"))
    (part / "metrics.json").unlink()
    succeed("train", f"resume={part}")
    assert_same_run(whole, part)


def batches():
    """A batch of four samples for the task of each application."""
    rows = torch.arange(4.0)
    words = torch.arange(8).reshape(4, 2)
    net = nn.Linear(1, 1)
    speech = Batch(torch.ones(4, 2, 3), torch.full((4,), 2), words, torch.tensor([1, 2, 1, 2]))
    returns = (torch.ones(4, 2, 1), torch.ones(4), rows[:, None])
    head = Head("student_t", "residual")
    return {
        "energy": (
            ForecastTask(net, OPTIMIZATION, (0.5,), "mse"),
            (torch.ones(4, 2), torch.ones(4, 2), rows[:, None]),
        ),
        "finance": (VolatilityTask(net, OPTIMIZATION, head, 1.0), returns),
        "sentiment": (SentimentTask(net, OPTIMIZATION, None), (words, rows)),
        "speech": (CTCTask(net, OPTIMIZATION, 3), speech),
        "temporal_order": (OrderTask(net, OPTIMIZATION), (words, rows.long())),
        "noisy_quadratic": (QuadraticTask(net, OPTIMIZATION), torch.ones(4, 2)),
        "low_rank_noise": (MatricesTask(Matrices(4, 2), OPTIMIZATION), torch.ones(4, 2, 2)),
    }


@pytest.mark.parametrize("app", batches())
def test_label_noise_moves_the_targets_of_a_share_and_nothing_else(app):
    task, batch = batches()[app]
    if "label_noise" not in task.faults:
        pytest.skip("it has no labels")
    fault = LabelNoise(share=0.5, seed=3)
    spoilt, again = (fault.spoil(task, batch, 7) for _ in range(2))
    where = {"energy": [2], "finance": [2], "speech": [2, 3]}.get(app, [1])
    for index, (before, after) in enumerate(zip(batch, spoilt, strict=True)):
        assert torch.equal(after, again[index])
        moved = (before != after).reshape(4, -1).any(1)
        if index in where[:1]:
            assert moved.sum() == 2
            assert torch.equal(after.unique(dim=0), before.unique(dim=0))
        elif index not in where:
            assert not moved.any()
    others = [fault.spoil(task, batch, number) for number in range(20)]
    kinds = {tuple(other[where[0]].flatten().tolist()) for other in others}
    assert len(kinds) > 2, "another batch, other samples"


@pytest.mark.parametrize("app", batches())
def test_outliers_scale_what_are_numbers(app):
    task, batch = batches()[app]
    if "outliers" not in task.faults:
        pytest.skip("it has no numbers")
    fault = OutlierBatches(scale=10.0, every=3, seed=1)
    hit = [fault.spoil(task, batch, number) is not batch for number in range(6)]
    assert hit == [False, True, False, False, True, False]
    spoilt = fault.spoil(task, batch, 1)
    if app in ("noisy_quadratic", "low_rank_noise"):
        assert torch.equal(spoilt, 10 * batch)
        return
    factors = {"energy": (10, 1, 10), "finance": (10, 1, 10), "sentiment": (1, 10)}
    for factor, before, after in zip(factors.get(app, (10, 1, 1, 1)), batch, spoilt, strict=True):
        assert torch.equal(after, factor * before)


def test_joined_utterances_keep_all_frames_and_words_in_order():
    frames = torch.arange(1.0, 31.0).reshape(5, 3, 2)  # five utterances of 1 to 3 frames
    lengths, sizes = torch.tensor([3, 1, 2, 3, 2]), torch.tensor([2, 1, 1, 2, 1])
    words = torch.arange(1, 11).reshape(5, 2)
    task = CTCTask(nn.Linear(1, 1), OPTIMIZATION, 2)
    fault, batch = LongSequences(times=2, seed=3), Batch(frames, lengths, words, sizes)
    joined, again, other = (fault.spoil(task, batch, number) for number in (7, 7, 8))
    assert all(map(torch.equal, joined, again))
    assert joined.frames.shape[0] == 3
    assert joined.lengths.sum() == lengths.sum()
    assert joined.target_lengths.sum() == sizes.sum()
    starts = {float(frames[i, 0, 0]): i for i in range(5)}
    orders = []
    for row, length, said, size in zip(*joined, strict=True):
        parts, at = [], 0
        while at < length:
            i = starts[float(row[at, 0])]
            parts.append(i)
            assert torch.equal(row[at : at + lengths[i]], frames[i, : lengths[i]])
            at += int(lengths[i])
        assert torch.equal(said[:size], torch.cat([words[i, : sizes[i]] for i in parts]))
        assert not row[length:].any()
        orders += parts
    assert sorted(orders) == list(range(5))
    assert not torch.equal(other.lengths, joined.lengths) or not torch.equal(other[2], joined[2])


@pytest.mark.parametrize("verb", ["train", "compare"])
def test_what_cannot_be_done_is_refused_before_anything_is_written(verb, empty_folder):
    line = refused(verb, "experiment=heavy_tails", "stress=label_noise")
    assert "stress=label_noise: cannot be done to the batches of app=noisy_quadratic" in line
    assert "what can: outliers" in line
    line = refused(verb, "experiment=heavy_tails", "stress=long_sequences")
    assert "stress=long_sequences: unknown; known: fp16, label_noise, outliers" in line


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("callbacks.stress.every=0", "every=0, scale=30.0: must be >= 1"),
        ("callbacks.stress.scale=-1", "scale=-1: must be"),
    ],
)
def test_a_wrong_value_is_one_line(argument, expected, empty_folder, tiny):
    assert expected in refused("train", *tiny, "stress=outliers", argument)


def test_fp16_is_fp16_on_the_cpu_too_with_a_scaled_loss(train):
    from hydra import initialize_config_dir

    from apps import CONF

    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose_run("energy", ["stress=fp16"])
    plugin = make_trainer(config, logger=False, enable_checkpointing=False).precision_plugin
    assert plugin.precision == "16-mixed"
    assert plugin.scaler.is_enabled()
    with plugin.forward_context():
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.float16
    half = losses(train("stress=fp16", name="half"))
    full = losses(train(name="full"))
    assert half != full
    assert half == pytest.approx(full, rel=0.02)
