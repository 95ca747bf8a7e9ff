"""The alpha-beta tracker and the rule on it."""

from __future__ import annotations

import numpy as np
import pytest

from apps.driving.episodes import Sight
from apps.driving.sensor import Detections
from apps.driving.tracker import PATIENCE, Follower, Tracker
from apps.driving.traffic import FASTER, KEEP, SLOWER


def sight(gaps: dict[int, float], lane: int = 1, speed: float = 20.0, wish: float = 20.0) -> Sight:
    seen, measured = np.zeros((1, 6), bool), np.zeros((1, 6))
    for slot, gap in gaps.items():
        seen[0, slot], measured[0, slot] = True, gap
    one = np.ones(1)
    detected = Detections(seen, measured)
    return Sight(speed * one, wish * one, 0 * one, np.array([lane]), 3, detected, one)


def test_it_finds_the_speed_of_a_car_that_comes_nearer_steadily() -> None:
    tracker = Tracker()
    for k in range(40):
        tracks = tracker.update(sight({2: 100.0 - 2.0 * k}))
    assert tracks.gaps[0, 2] == pytest.approx(100.0 - 2.0 * 39, abs=1e-3)
    assert tracks.speeds[0, 2] == pytest.approx(-4.0, abs=1e-3), "2 m in half a second"


def test_an_unseen_car_goes_on_as_before_for_a_while() -> None:
    tracker = Tracker()
    for k in range(40):
        tracker.update(sight({2: 100.0 - 2.0 * k}))
    for k in range(1, PATIENCE + 2):
        tracks = tracker.update(sight({}))
        assert tracks.gaps[0, 2] == pytest.approx(22.0 - 2.0 * k, abs=1e-2)
        assert tracks.believed[0, 2] == (k <= PATIENCE)


def test_a_jump_is_another_car() -> None:
    tracker = Tracker()
    for k in range(10):
        tracker.update(sight({2: 60.0 - 2.0 * k}))
    tracks = tracker.update(sight({2: 20.0}))
    assert (tracks.gaps[0, 2], tracks.speeds[0, 2]) == (20.0, 0.0)


def test_tracks_move_with_the_lane() -> None:
    tracker = Tracker()
    tracker.update(sight({0: 11.0, 2: 22.0, 4: 33.0}, lane=1))
    tracks = tracker.update(sight({}, lane=2))
    assert tracks.gaps[0].tolist() == [22.0, 0.0, 33.0, 0.0, 0.0, 0.0]
    assert tracks.believed[0].tolist() == [True, False, True, False, False, False]


@pytest.mark.parametrize(
    ("gap", "speed", "action"),
    [(None, 20.0, FASTER), (15.0, 20.0, SLOWER), (42.0, 20.0, KEEP), (None, 30.0, KEEP)],
)
def test_the_follower_keeps_idms_distance(gap: float | None, speed: float, action: int) -> None:
    found = Follower(changes_lanes=False).decide(
        sight({} if gap is None else {2: gap}, speed=speed, wish=speed)
    )
    assert found.actions.tolist() == [action]


@pytest.mark.parametrize(
    ("around", "moves"),
    [
        ({2: 20.0}, True),  # slow traffic ahead, nothing beside
        ({2: 20.0, 0: 9.0, 4: 9.0}, False),  # no room ahead there
        ({2: 20.0, 1: -6.0, 5: -6.0}, False),  # somebody close behind there
        ({}, False),  # nothing to gain
    ],
)
def test_lanes_are_changed_where_that_gains_and_is_safe(
    around: dict[int, float], moves: bool
) -> None:
    action = int(Follower(changes_lanes=True).decide(sight(around)).actions[0])
    assert (action in (0, 2)) == moves
