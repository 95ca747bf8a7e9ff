"""Benchmarks that no other test runs still do."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from apps.base.task import Optimization
from apps.driving.model import NUM_FEATURES, RecurrentDriver
from apps.driving.ppo import PPO, Reward, play
from apps.driving.scenarios import Highway
from benchmarks import actor_tails, driving_settings
from benchmarks.padding import batch, seconds, task
from benchmarks.spectral_speed import table


def test_a_step_of_the_speech_recogniser_with_and_without_packing() -> None:
    for packed in (None, False, True):
        trained = task(packed)
        assert seconds(trained, trained.make_optimizer(), batch([40, 25])) > 0


def test_clipping_the_ratio_changes_gradients_off_the_policy_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(actor_tails, "SAMPLES", 6)
    highway = Highway(vehicles=4, seconds=5)
    net = RecurrentDriver(NUM_FEATURES, hidden_size=8)
    scenes, drawn = highway.scenes("train", range(8)), torch.Generator().manual_seed(0)
    rollout = play(net, highway, scenes, drawn, PPO(), Reward())
    plain, clipped = actor_tails.LOSSES["actor"], actor_tails.LOSSES["actor, ratio clipped"]
    on = [actor_tails.norms(net, rollout, loss) for loss in (plain, clipped)]
    assert np.array_equal(*on)
    optimizer = torch.optim.Adam(net.parameters(), 0.05)
    for _ in range(4):
        actor_tails.learn(net, optimizer, rollout)
    off = [actor_tails.norms(net, rollout, loss) for loss in (plain, clipped)]
    assert not np.array_equal(*off)


def test_settings_of_driving_are_chosen_on_unseen_validation_scenarios(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(driving_settings, "UNSEEN", range(1000, 1006))
    highway = Highway(vehicles=4, seconds=5)
    assert highway.validation <= 1000
    learning = PPO(episodes=4, minibatches=2, passes=1)
    adam = functools.partial(torch.optim.Adam, lr=0.01)
    net = driving_settings.train(Optimization(adam, "onecycle"), learning, 2, 0, highway)
    usual, dense = (driving_settings.validated(net, highway, d) for d in ((0.8, 1.2), (1.3, 1.6)))
    assert 0 < usual["score"] <= 100
    assert 0 < dense["score"] <= 100
    assert usual["gap_rmse"] != dense["gap_rmse"]


def test_spectral_clipping_beside_its_bases() -> None:
    lines = table(rounds=1, shapes=((140, 130), (40, 60)))
    assert len(lines) == 2 + 1 + 2 * 5
    assert all(line.count("|") == 6 for line in lines)
