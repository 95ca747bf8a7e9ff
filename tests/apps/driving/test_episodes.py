"""Driving through scenarios: actions, crashes, what is recorded and scored."""

from __future__ import annotations

import numpy as np
import pytest

from apps.driving.drivers import BASELINES
from apps.driving.episodes import Choice, Sight, aim, drive, time_to_collision
from apps.driving.metrics import scores, table_of
from apps.driving.scenarios import Highway
from apps.driving.sensor import Sensor
from apps.driving.traffic import FASTER, KEEP, LEFT, RIGHT, SLOWER, Road, Traffic, empty

HIGHWAY = Highway(seconds=15, test=24)
SCENES = HIGHWAY.scenes("test", range(24))


class Repeating:
    """Takes the actions that another driver took."""

    by_rule = False

    def __init__(self, actions: np.ndarray) -> None:
        self.rows = iter(actions)

    def decide(self, sight: Sight) -> Choice:
        unknown = np.full(sight.detected.gaps.shape, np.nan)
        return Choice(next(self.rows), unknown, unknown)


def car(speed: float, lane: int) -> Traffic:
    traffic = empty(Road(3, 1, 30), 1)
    traffic.speed[:], traffic.wish[:], traffic.lane[:] = speed, speed, lane
    return traffic


@pytest.mark.parametrize(
    ("speed", "lane", "action", "wish", "aimed"),
    [
        (23.0, 1, FASTER, 30.0, 1),
        (22.0, 1, FASTER, 25.0, 1),
        (22.0, 1, SLOWER, 15.0, 1),
        (30.0, 1, FASTER, 30.0, 1),
        (0.0, 1, SLOWER, 0.0, 1),
        (23.0, 1, KEEP, 23.0, 1),
        (23.0, 1, LEFT, 23.0, 0),
        (23.0, 0, LEFT, 23.0, 0),
        (23.0, 2, RIGHT, 23.0, 2),
    ],
)
def test_an_action_sets_what_is_aimed_at(
    speed: float, lane: int, action: int, wish: float, aimed: int
) -> None:
    traffic = car(speed, lane)
    aim(traffic, np.array([action]), 3)
    assert (traffic.wish[0, 0], traffic.lane[0, 0]) == (wish, aimed)


def test_time_to_collision_counts_from_bumper_to_bumper() -> None:
    gaps, speeds = np.zeros((4, 6)), np.zeros((4, 6))
    gaps[:, 2], speeds[:, 2] = [25.0, 25.0, 4.0, 25.0], [-10.0, 10.0, -1.0, -10.0]
    present = np.ones((4, 6), bool)
    present[3] = False
    assert time_to_collision(gaps, speeds, present).tolist() == [2.0, np.inf, 0.0, np.inf]


def test_the_same_actions_repeat_a_drive_to_the_last_bit() -> None:
    first = drive(HIGHWAY, SCENES, BASELINES["tracker_idm_lanes"]())
    again = drive(HIGHWAY, SCENES, Repeating(first.actions))
    assert np.array_equal(first.distance, again.distance)
    assert np.array_equal(first.crashed, again.crashed)


def test_a_drive_leaves_its_scenarios_as_they_were() -> None:
    before = SCENES.traffic.copy()
    drive(HIGHWAY, SCENES, BASELINES["idm_mobil_privileged"]())
    assert all(np.array_equal(a, b) for a, b in zip(before, SCENES.traffic, strict=True))


def test_nothing_happens_after_a_crash() -> None:
    driven = drive(HIGHWAY, SCENES, BASELINES["random"]())
    crashed = driven.crashed.any(axis=0)
    assert 0 < crashed.sum() < 24
    assert (driven.crashed.sum(axis=0) <= 1).all()
    for b in np.flatnonzero(crashed):
        end = int(driven.crashed[:, b].argmax())
        assert driven.active[: end + 1, b].all()
        assert not driven.active[end + 1 :, b].any()
        assert (driven.distance[end + 1 :, b] == 0).all()


def test_scores_are_those_of_the_table() -> None:
    driven = drive(HIGHWAY, SCENES, BASELINES["random"]())
    table = table_of(driven, HIGHWAY, "test")
    found = scores(table)
    crashed = driven.crashed.any(axis=0)
    metres = (driven.distance * driven.active).sum(axis=0)
    assert found["score"] == pytest.approx(np.where(crashed, 0, metres / 4.5).mean())
    assert found["collisions"] == pytest.approx(100 * crashed.mean())
    assert found["collisions_100km"] == pytest.approx(1e5 * crashed.sum() / metres.sum())
    assert found["kmh"] == pytest.approx(3.6 * metres.sum() / (0.5 * driven.active.sum()))
    assert np.isnan(found["gap_rmse"])
    assert table["actions"].str.len().eq(30).all()


def test_drivers_come_in_the_order_of_what_they_know() -> None:
    found = {
        name: scores(table_of(drive(HIGHWAY, SCENES, make()), HIGHWAY, "test"))
        for name, make in BASELINES.items()
    }
    score = {name: found[name]["score"] for name in BASELINES}
    blind = max(score["constant_speed"], score["random"])
    assert blind + 20 < score["tracker_idm"] < score["idm_mobil_privileged"]
    assert found["idm_mobil_privileged"]["collisions"] == 0
    assert found["constant_speed"]["lane_changes"] == found["tracker_idm"]["lane_changes"] == 0


def test_a_tracker_with_a_perfect_sensor_knows_gaps_and_speeds_well() -> None:
    perfect = Highway(seconds=15, sensor=Sensor(noise=0, relative_noise=0, occluded=0, range=60))
    blurred = scores(table_of(drive(HIGHWAY, SCENES, BASELINES["tracker_idm"]()), HIGHWAY, "test"))
    scenes = perfect.scenes("test", range(24))
    clear = scores(table_of(drive(perfect, scenes, BASELINES["tracker_idm"]()), perfect, "test"))
    assert clear["gap_rmse"] < 0.5 * blurred["gap_rmse"]
    assert clear["speed_rmse"] < blurred["speed_rmse"]
