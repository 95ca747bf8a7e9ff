"""What moves on the road: the cars of many independent scenarios side by side."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]

LANE_WIDTH = 4.0  # m
LENGTH, WIDTH = 5.0, 2.0  # m, of every car
TOP_SPEED = 30.0  # m/s, the most that a car wishes for
SPEED_STEP = 5.0  # m/s, by which the driver's wish rises and falls
LEFT, KEEP, RIGHT, FASTER, SLOWER = range(5)  # the driver's actions
ACTIONS = ("left", "keep", "right", "faster", "slower")
FRAMES = 5  # of the simulation in a decision
FRAME_SECONDS = 0.1
DECISION_SECONDS = FRAMES * FRAME_SECONDS


class Traffic(NamedTuple):
    """The cars (B, V) of B scenarios; car 0 of each is the driver's.

    x, y: position along and across the road, m; lane k lies at y = 4 k. heading: rad. speed and
    wish (the speed aimed at): m/s. timer: s since a car last thought of changing lanes. exponent:
    of its acceleration. lane: the lane aimed at.
    """

    x: Floats
    y: Floats
    heading: Floats
    speed: Floats
    wish: Floats
    timer: Floats
    exponent: Floats
    lane: Integers

    def copy(self) -> Traffic:
        """The same traffic in arrays of its own."""
        return Traffic._make(array.copy() for array in self)


class Cars(NamedTuple):
    """What is worked out of the cars (V,) of a scenario in a frame.

    order: from the last car to the first. lane: the nearest. leader: the next car ahead there, or
    -1. acceleration: m/s2. slip: the sine of the angle between heading and path.
    """

    order: Integers
    lane: Integers
    leader: Integers
    acceleration: Floats
    slip: Floats


class Road(NamedTuple):
    """A straight road without end.

    lanes: how many, >= 2. vehicles: cars beside the driver's, >= 1. seconds: length of an episode,
    >= 1.
    """

    lanes: int
    vehicles: int
    seconds: int

    @property
    def decisions(self) -> int:
        """The driver's decisions in an episode: two in a second."""
        return round(self.seconds / DECISION_SECONDS)


def start(road: Road, uniforms: Floats, density: tuple[float, float]) -> Traffic:
    """The traffic of B scenarios at first, drawn with uniforms (B, 1 + 4 V) from [0, 1).

    As highway-env places its cars: one after the other, each at a distance that grows with its
    speed and falls with the density, in any lane. The driver's is the last, at 25 m/s; the others
    drive at 21 to 24 m/s at first.
    """
    count, cars = len(uniforms), road.vehicles + 1
    drawn = uniforms[:, 1:].reshape(count, 4, cars)
    low, high = density
    dense = low + (high - low) * uniforms[:, :1]
    speed = 21.0 + 3.0 * drawn[:, 0]
    speed[:, 0] = 25.0
    spacing = np.broadcast_to(1.0 / dense, (count, cars)).copy()
    spacing[:, 0] = 1.5
    offset = spacing * (12.0 + speed) * np.exp(-5.0 / 40.0 * road.lanes)
    steps = offset * (0.9 + 0.2 * drawn[:, 1])
    steps[:, 0] += 3.0 * offset[:, 0]
    x = np.cumsum(steps, axis=1)
    lane = np.floor(road.lanes * drawn[:, 2]).astype(np.int64)
    y = LANE_WIDTH * lane.astype(np.float64)
    timer = (x + y) * np.pi % 1.0
    exponent = 3.5 + drawn[:, 3]
    return Traffic(x, y, np.zeros_like(x), speed, speed.copy(), timer, exponent, lane)


def empty(road: Road, count: int) -> Traffic:
    """Arrays for the traffic of so many scenarios."""
    shape = (count, road.vehicles + 1)
    return Traffic._make([*(np.zeros(shape) for _ in range(7)), np.zeros(shape, np.int64)])
