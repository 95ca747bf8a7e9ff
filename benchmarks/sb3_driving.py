"""PPO of Stable-Baselines3 with its defaults on the road of app=driving, at as many decisions.

    python -m benchmarks.sb3_driving --decisions 1536000 --seed 0

Its policy has no memory (two dense layers of 64), sees what ours see, is paid the same, and
discounts alike; everything else is as it ships. Needs `pip install -e '.[clients]'`. Kept in
docs/driving.md with its command, since it takes minutes.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv

from apps.driving.drivers import Unknowing
from apps.driving.episodes import Sight, aim, drive, look
from apps.driving.kernels import advance, surroundings
from apps.driving.metrics import scores, table_of
from apps.driving.model import NUM_FEATURES, encode
from apps.driving.ppo import Reward
from apps.driving.scenarios import Highway, Split
from apps.driving.traffic import ACTIONS, DECISION_SECONDS, TOP_SPEED, Floats, Integers

DISCOUNT = 0.97  # of app.learning, for the same horizon


class Roads(VecEnv):
    """Training scenarios side by side; whoever is done begins the next one at once."""

    def __init__(self, highway: Highway, count: int, seed: int) -> None:
        self.highway, self.seed_of_run = highway, seed
        self.reward = Reward()
        self.scenes = highway.scenes("train", range(count), seed)
        self.traffic = self.scenes.traffic.copy()
        self.next, self.age = count, np.zeros(count, np.int64)
        self.render_mode = None
        space = gymnasium.spaces.Box(-np.inf, np.inf, (NUM_FEATURES,), np.float32)
        super().__init__(count, space, gymnasium.spaces.Discrete(len(ACTIONS)))

    def reset(self) -> Any:
        """The first observations."""
        return self._observe()

    def step_async(self, actions: Any) -> None:
        """Keep the actions."""
        self.actions: Integers = np.asarray(actions, np.int64)

    def step_wait(self) -> Any:
        """Drive for one decision."""
        before = self.traffic.x[:, 0].copy()
        aim(self.traffic, self.actions, self.highway.lanes)
        crashed = advance(self.traffic, self.highway.lanes, False, np.ones(len(before), np.bool_))
        speed = (self.traffic.x[:, 0] - before) / DECISION_SECONDS
        paid = self.reward.progress * speed / TOP_SPEED - self.reward.collision * crashed
        self.age += 1
        late = (self.age >= self.highway.road.decisions) & ~crashed
        done = crashed | late
        infos: list[dict[str, Any]] = [{} for _ in before]
        # The last of an episode's moments has no faults of its own; those of the one before serve.
        last = self._observe()
        for b in np.flatnonzero(done):
            infos[b] = {"terminal_observation": last[b], "TimeLimit.truncated": bool(late[b])}
            self._begin(int(b))
        seen = self._observe() if done.any() else last
        return seen, paid.astype(np.float32), done, infos

    def _begin(self, b: int) -> None:
        scenes = self.highway.scenes("train", [self.next], self.seed_of_run)
        for mine, new in zip(self.traffic, scenes.traffic, strict=True):
            mine[b] = new[0]
        self.scenes.faults.hidden[b] = scenes.faults.hidden[0]
        self.scenes.faults.noise[b] = scenes.faults.noise[0]
        self.next, self.age[b] = self.next + 1, 0

    def _observe(self) -> Floats:
        lanes, sensor = self.highway.lanes, self.highway.sensor
        rows = np.arange(len(self.age))
        t = np.minimum(self.age, self.highway.road.decisions - 1)
        present, gaps, _ = surroundings(self.traffic, lanes, sensor.range)
        faults = self.scenes.faults
        detected = sensor.detect(present, gaps, faults.hidden[rows, t], faults.noise[rows, t])
        found: Floats = encode(look(self.traffic, lanes, detected, np.zeros(len(rows)))).numpy()
        return found

    def close(self) -> None:
        """Nothing to close."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute of each road, which has none of its own."""
        return [getattr(self, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: roads have no attributes of their own."""
        raise NotImplementedError

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        """Refuse: roads have no methods of their own."""
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No road is wrapped."""
        return [False] * self.num_envs


class Theirs(Unknowing):
    """A policy of Stable-Baselines3 at the wheel, which takes its likeliest action."""

    def __init__(self, model: PPO) -> None:
        self.model = model

    def actions(self, sight: Sight) -> Integers:
        """Its likeliest actions."""
        found, _ = self.model.predict(encode(sight).numpy(), deterministic=True)
        return np.asarray(found, np.int64)


def main() -> None:
    """Train, drive through both tests, and print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=1_536_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    highway = Highway()
    started = time.process_time()
    model = PPO("MlpPolicy", Roads(highway, 8, given.seed), gamma=DISCOUNT, seed=given.seed)
    model.learn(given.decisions)
    seconds = time.process_time() - started
    result: dict[str, Any] = {**vars(given), "cpu_seconds": round(seconds, 1)}
    splits: tuple[Split, ...] = ("test", "dense")
    for split in splits:
        driven = drive(highway, highway.scenes(split, range(highway.test)), Theirs(model))
        found = scores(table_of(driven, highway, split))
        result[split] = {k: round(found[k], 2) for k in ("score", "collisions", "kmh")}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
