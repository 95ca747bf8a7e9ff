"""The road that PPO of Stable-Baselines3 learns on is the one that ours does."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("gymnasium", reason="gymnasium is not installed")
pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed")

from apps.driving.drivers import Unknowing
from apps.driving.episodes import drive
from apps.driving.ppo import Reward
from apps.driving.scenarios import Highway
from apps.driving.traffic import KEEP
from benchmarks.sb3_driving import Roads


def test_every_episode_pays_what_a_drive_pays() -> None:
    highway, count = Highway(seconds=20), 6
    roads = Roads(highway, count, seed=3)
    roads.reset()
    paid: dict[int, float] = {}
    number, total = np.arange(count), np.zeros(count)
    for _ in range(2 * highway.road.decisions):
        roads.step_async(np.full(count, KEEP))
        _, rewards, done, infos = roads.step_wait()
        total += rewards
        for b in np.flatnonzero(done):
            paid[int(number[b])] = float(total[b])
            assert infos[b]["terminal_observation"].shape == (18,)
            total[b] = 0.0
            # In the order of the roads the next scenarios begin.
            number[b] = max(number) + 1
    first = range(count)
    driven = drive(highway, highway.scenes("train", first, 3), Unknowing())
    expected = Reward().of(driven).sum(dim=0).numpy()
    assert driven.crashed.any()
    assert not driven.crashed.any(axis=0).all()
    assert set(first) < set(paid)
    # Sums of 40 rewards in float32.
    np.testing.assert_allclose([paid[n] for n in first], expected, rtol=1e-5)
