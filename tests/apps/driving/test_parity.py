"""The simulation beside highway-env, whose port it is: the same cars, the same actions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("highway_env", reason="highway-env is not installed")

from apps.driving.episodes import aim
from apps.driving.examiner import opened, traffic_of
from apps.driving.kernels import advance, surroundings
from apps.driving.scenarios import Highway
from apps.driving.traffic import Road, Traffic

pytestmark = pytest.mark.filterwarnings("ignore")  # what gymnasium and pygame say of themselves

ROAD = Road(lanes=3, vehicles=20, seconds=30)
# Both do the same arithmetic in float64; measured were 2e-13 m after 30 s. What is left over is for
# another processor's sines, whose rounding grows where cars follow each other.
NEAR = 1e-3  # m


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    with opened(ROAD) as made:
        yield made


def copy_of(env: Any) -> Traffic:
    return traffic_of(env, ROAD)


def both(env: Any, seed: int) -> tuple[list[tuple[bool, bool]], list[float], list[str]]:
    """Crashes and largest distances of the cars in both, and the actions, decision by decision."""
    env.reset(seed=seed)
    traffic, draw = copy_of(env), np.random.default_rng(seed)
    crashes, distances, actions = [], [], []
    for _ in range(ROAD.decisions):
        action = int(draw.choice([1, 1, 1, 0, 2, 3, 4]))
        _, _, theirs, _, _ = env.step(action)
        aim(traffic, np.array([action]), ROAD.lanes)
        ours = bool(advance(traffic, ROAD.lanes, False, np.ones(1, bool))[0])
        places = np.array([car.position for car in env.road.vehicles])
        distances.append(float(np.abs(places - np.stack([traffic.x[0], traffic.y[0]], 1)).max()))
        crashes.append((bool(theirs), ours))
        actions.append(str(action))
        if theirs or ours:
            break
    return crashes, distances, actions


def agree(env: Any, seed: int) -> bool:
    """Check one episode; whether it ended with a crash."""
    crashes, distances, _ = both(env, seed)
    assert all(theirs == ours for theirs, ours in crashes)
    # The frame of the crash is the last here, while theirs moves on to the end of the decision.
    assert max(distances[:-1] if crashes[-1][0] else distances) < NEAR
    return crashes[-1][0]


def test_the_same_actions_lead_to_the_same_places_and_crashes(env: Any) -> None:
    assert [agree(env, seed) for seed in (0, 2)] == [True, True]


@pytest.mark.slow  # half a minute: more of the same, two without a crash among them
def test_twelve_episodes_agree(env: Any) -> None:
    assert sum(agree(env, seed) for seed in range(12)) == 10


def test_the_neighbours_are_theirs(env: Any) -> None:
    env.reset(seed=3)
    traffic = copy_of(env)
    ego = env.vehicle
    present, gaps, speeds = surroundings(traffic, ROAD.lanes, 80.0)
    own = ego.lane_index[2]
    for k in range(3):
        lane = own + k - 1
        found: tuple[Any, Any] = (None, None)
        if 0 <= lane < ROAD.lanes:
            found = env.road.neighbour_vehicles(ego, (*ego.lane_index[:2], lane))
        for slot, car in zip((2 * k, 2 * k + 1), found, strict=True):
            near = car is not None and abs(car.position[0] - ego.position[0]) <= 80.0
            assert present[0, slot] == near
            if near:
                assert gaps[0, slot] == car.position[0] - ego.position[0]
                assert speeds[0, slot] == car.speed - ego.speed


def test_traffic_is_drawn_as_theirs_is(env: Any) -> None:
    """The quantiles of distances, speeds and exponents over many scenarios."""
    theirs = []
    for seed in range(25):
        env.reset(seed=seed)
        theirs.append(copy_of(env))
    highway = Highway(density=(1.0, 1.0))
    ours = highway.scenes("train", range(200)).traffic
    steps = np.concatenate([np.diff(traffic.x[0]) for traffic in theirs])
    mine = np.diff(ours.x, axis=1).ravel()
    # 500 distances between 22 and 28 m: their quantiles lie within 0.2 m at three deviations.
    levels = [0.05, 0.25, 0.5, 0.75, 0.95]
    assert np.quantile(steps, levels) == pytest.approx(np.quantile(mine, levels), abs=0.5)
    for name in ("speed", "exponent"):
        found = np.concatenate([getattr(traffic, name)[0, 1:] for traffic in theirs])
        drawn = getattr(ours, name)[:, 1:]
        assert found.min() == pytest.approx(drawn.min(), abs=0.05)
        assert found.max() == pytest.approx(drawn.max(), abs=0.05)
