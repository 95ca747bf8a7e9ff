"""highway-env itself as the examiner: a driver on its road, among its cars.

Leurent 2018, An environment for autonomous driving decision-making (MIT licence); version 1.12.1.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from apps.driving.episodes import Driver, drive
from apps.driving.metrics import table_of
from apps.driving.scenarios import Highway, Scenes
from apps.driving.traffic import (
    DECISION_SECONDS,
    FRAME_SECONDS,
    SPEED_STEP,
    TOP_SPEED,
    Flags,
    Integers,
    Road,
    Traffic,
    empty,
)
from apps.errors import UserError

SPLIT = "test_sim"
EPISODES = 20
PACKAGE = "highway-env==1.12.1"


@contextmanager
def opened(road: Road) -> Iterator[Any]:
    """highway-env with a road like ours, of usual density; UserError where it is not installed."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what gymnasium and pygame say of themselves
        try:
            import gymnasium
            import highway_env  # noqa: F401
        except ImportError:
            raise UserError(
                f"test_split={SPLIT}: drives in highway-env, which is not installed: pip install "
                f"{PACKAGE}; or leave test_split out"
            ) from None
        speeds = np.arange(0.0, TOP_SPEED + SPEED_STEP, SPEED_STEP)
        settings = {
            "lanes_count": road.lanes,
            "vehicles_count": road.vehicles,
            "duration": road.seconds,
            "simulation_frequency": round(1.0 / FRAME_SECONDS),
            "policy_frequency": round(1.0 / DECISION_SECONDS),
            "action": {"type": "DiscreteMetaAction", "target_speeds": speeds.tolist()},
        }
        env = gymnasium.make("highway-fast-v0", config=settings).unwrapped
        try:
            yield env
        finally:
            env.close()


def traffic_of(env: Any, road: Road) -> Traffic:
    """The cars of highway-env as the traffic of one scenario."""
    traffic = empty(road, 1)
    for i, car in enumerate(env.road.vehicles):
        traffic.x[0, i], traffic.y[0, i] = car.position
        traffic.heading[0, i], traffic.speed[0, i] = car.heading, car.speed
        traffic.wish[0, i], traffic.lane[0, i] = car.target_speed, car.target_lane_index[2]
        traffic.timer[0, i] = getattr(car, "timer", 0.0)
        traffic.exponent[0, i] = getattr(car, "DELTA", 4.0)
    return traffic


class Examiner:
    """highway-env as a world of one scenario; its actions are ours, by number."""

    def __init__(self, env: Any, road: Road) -> None:
        self._env = env
        self._road = road

    @property
    def traffic(self) -> Traffic:
        """The cars as they are now."""
        return traffic_of(self._env, self._road)

    def step(self, actions: Integers, active: Flags) -> Flags:
        """Move by one decision, unless the car has crashed."""
        if not active[0]:
            return np.zeros(1, np.bool_)
        _, _, crashed, _, _ = self._env.step(int(actions[0]))
        return np.array([bool(crashed)])


def examine(
    highway: Highway, make: Callable[[], Driver], *, episodes: int = EPISODES
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Drives of one driver in highway-env, and in the port from the same traffic on.

    Both have the same faults of the sensor. Raises UserError where highway-env is not installed.
    """
    theirs, ours = [], []
    with opened(highway.road) as env, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(episodes):
            env.reset(seed=number)
            scenes = highway.scenes("test", [number])
            scenes = Scenes(traffic_of(env, highway.road), scenes.faults, scenes.chance)
            examined = drive(highway, scenes, make(), Examiner(env, highway.road))
            theirs.append(table_of(examined, highway, SPLIT).assign(scenario=number))
            again = drive(highway, scenes, make())
            ours.append(table_of(again, highway, SPLIT).assign(scenario=number))
    return pd.concat(theirs, ignore_index=True), pd.concat(ours, ignore_index=True)
