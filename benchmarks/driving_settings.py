"""Settings of app=driving beside each other, on validation scenarios that no training sees.

    python -m benchmarks.driving_settings --rollouts 400 passes=3 perception=2.0

trains with a seed, so many rollouts and those settings of `app.learning`, in a loop without
Lightning, and prints the scores in 1,024 scenarios of the split `val` from number 1000 on, at the
densities of the test and of the dense one, as a line of JSON. No test scenario is driven. What is
not given is as it was when this was first asked: 300 rollouts, four passes, perception=0.5.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import time
from typing import Any

import torch

from apps.base.task import Optimization
from apps.driving.episodes import drive
from apps.driving.metrics import scores, table_of
from apps.driving.model import NUM_FEATURES, Learned, RecurrentDriver
from apps.driving.ppo import PPO, Reward, losses, play
from apps.driving.scenarios import DENSE, TEST_DENSITY, Highway

BEFORE = PPO(passes=4, perception=0.5)
UNSEEN = range(1000, 2024)  # numbers of validation scenarios
SHOWN = ("score", "collisions", "gap_rmse", "speed_rmse")
MOST = 1.0  # norm of a gradient


def train(
    optimization: Optimization, learning: PPO, rollouts: int, seed: int, highway: Highway
) -> RecurrentDriver:
    """A network that has learnt from so many rollouts."""
    torch.manual_seed(seed)
    net = RecurrentDriver(NUM_FEATURES)
    optimizer = optimization.make_optimizer(net)
    schedule = optimization.make_schedule(optimizer, rollouts * learning.steps)
    assert schedule is not None
    generator = torch.Generator().manual_seed(seed)
    for number in range(rollouts):
        first = number * learning.episodes
        scenes = highway.scenes("train", range(first, first + learning.episodes), seed)
        rollout = play(net, highway, scenes, generator, learning, Reward())
        for _ in range(learning.passes):
            order = torch.randperm(learning.episodes, generator=generator)
            for samples in order.tensor_split(learning.minibatches):
                part = rollout.of(samples)
                optimizer.zero_grad()
                losses(net(part.features)[0], part, learning).total.backward()
                torch.nn.utils.clip_grad_norm_(net.parameters(), MOST)
                optimizer.step()
                schedule.step()
    return net


def validated(net: RecurrentDriver, highway: Highway, density: tuple[float, float]) -> Any:
    """The scores of a network in the unseen scenarios."""
    road = dataclasses.replace(highway, density=density)
    driven = drive(road, road.scenes("val", UNSEEN), Learned(net))
    found = scores(table_of(driven, road, "val"))
    return {name: round(found[name], 2) for name in SHOWN}


def main() -> None:
    """Train once and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rollouts", type=int, default=300)
    parser.add_argument("--rate", type=float, default=0.002, help="of AdamW")
    parser.add_argument("--decay", type=float, default=0.1, help="of the weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("setting", nargs="*", help="a weight of app.learning, as NAME=NUMBER")
    given = parser.parse_args()
    torch.set_num_threads(1)
    pairs = [setting.split("=") for setting in given.setting]
    learning = dataclasses.replace(BEFORE, **{name: json.loads(text) for name, text in pairs})
    highway, started = Highway(), time.process_time()
    adamw = functools.partial(
        torch.optim.AdamW, lr=given.rate, weight_decay=given.decay, fused=True
    )
    net = train(Optimization(adamw, "onecycle"), learning, given.rollouts, given.seed, highway)
    result = {**vars(given), "cpu_seconds": round(time.process_time() - started, 1)}
    for split, density in (("usual", TEST_DENSITY), ("dense", DENSE)):
        result[split] = validated(net, highway, density)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
