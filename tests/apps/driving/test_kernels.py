"""What the loops of the simulation work out in a shorter way is what the long way finds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from apps.driving.kernels import (
    HEADING_LAG,
    SHARPEST,
    SIDE_LAG,
    STEEPEST,
    advance,
    blank,
    look_ahead,
    neighbours,
    slip_of,
)
from apps.driving.scenarios import Highway
from apps.driving.traffic import LANE_WIDTH, LENGTH, Road, Traffic, empty

HIGHWAY = Highway(density=(1.6, 1.6), vehicles=30)


def moved(decisions: int) -> Traffic:
    traffic = HIGHWAY.scenes("train", range(8)).traffic.copy()
    for _ in range(decisions):
        advance(traffic, HIGHWAY.lanes, True, np.ones(8, np.bool_))
    return traffic


@pytest.mark.parametrize("decisions", [0, 3, 40])
def test_one_pass_finds_the_car_ahead_of_each(decisions: int) -> None:
    traffic, cars = moved(decisions), blank(31)
    for b in range(8):  # each begins with the order that the one before has left
        look_ahead(traffic, cars, HIGHWAY.lanes, b)
        assert np.all(np.diff(traffic.x[b][cars.order]) >= 0)
        assert cars.lane.tolist() == np.rint(traffic.y[b] / LANE_WIDTH).astype(int).tolist()
        ahead = [neighbours(traffic, b, i, cars.lane[i])[0] for i in range(31)]
        assert cars.leader.tolist() == ahead


def steered(speed: float, aside: float, heading: float) -> float:
    """The slip in highway-env's words: from the wish to turn to the wheels, and back."""
    wanted = math.asin(max(-1.0, min(1.0, -aside / SIDE_LAG / speed)))
    wanted = max(-STEEPEST, min(STEEPEST, wanted))
    turning = (wanted - heading) / HEADING_LAG
    angle = math.asin(max(-1.0, min(1.0, LENGTH / 2 / speed * turning)))
    wheels = max(-SHARPEST, min(SHARPEST, math.atan(2.0 * math.tan(angle))))
    return math.atan(0.5 * math.tan(wheels))


@pytest.mark.parametrize("speed", [0.3, 2.0, 25.0])
@pytest.mark.parametrize("aside", [-4.0, -0.3, 0.0, 2.0])
@pytest.mark.parametrize("heading", [-0.4, 0.0, 0.1])
def test_the_slip_is_that_of_the_wheels(speed: float, aside: float, heading: float) -> None:
    traffic = empty(Road(3, 1, 30), 1)
    traffic.speed[:], traffic.y[:], traffic.heading[:] = speed, LANE_WIDTH + aside, heading
    traffic.lane[:] = 1
    # Seven trigonometric functions and one of float64 round apart by some 1e-16 each.
    assert math.asin(slip_of(traffic, 0, 0)) == pytest.approx(
        steered(speed, aside, heading), abs=1e-13
    )
