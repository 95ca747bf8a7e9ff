"""The loops of the simulation, compiled by numba at their first use and kept for the next.

Formulas and constants are those of highway-env 1.12.1 (Leurent 2018, MIT licence): IDM (Treiber,
Hennecke and Helbing 2000, arXiv:cond-mat/0002177), MOBIL (Kesting, Treiber and Helbing 2007), a
kinematic bicycle (Polack et al. 2017), and collisions of rectangles. Indices: b a scenario, i a
car, l a lane.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

from apps.driving.traffic import (
    FRAME_SECONDS,
    FRAMES,
    LANE_WIDTH,
    LENGTH,
    TOP_SPEED,
    WIDTH,
    Cars,
    Flags,
    Floats,
    Integers,
    Traffic,
)

GENTLE, HARD = 3.0, 5.0  # m/s2, comfortable acceleration and braking
STANDSTILL, HEADWAY = 10.0, 1.5  # m between the middles of two standing cars, and s
MOST_ACCELERATION, FASTEST = 6.0, 40.0  # m/s2, m/s
LEAST_GAIN, MOST_IMPOSED = 0.2, 2.0  # m/s2, of a change of lanes
THINKING = 1.0  # s between two thoughts of changing lanes
SPEED_LAG, HEADING_LAG, SIDE_LAG = 0.6, 0.2, 0.6  # s, of the controllers
STEEPEST, SHARPEST = math.pi / 4, math.pi / 3  # rad, of heading and wheels
_MOST_SLIP = math.sin(math.atan(math.tan(SHARPEST) / 2))
_HALF_LENGTH, _HALF_WIDTH = LENGTH / 2, WIDTH / 2
_REACH2 = LENGTH**2 + WIDTH**2  # squared distance at which two cars can touch at most
_TINY = 1e-2  # in the place of a divisor of zero

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """The function compiled at its first call, into those that call it.

    A call would count references to every array of the traffic, which takes longer than most of
    what is called.
    """
    return cast(_Function, numba.njit(cache=True, forceinline=True)(function))


@compiled
def blank(count: int) -> Cars:
    """Room for so many cars."""
    lane, leader = np.empty(count, np.int64), np.empty(count, np.int64)
    return Cars(np.arange(count), lane, leader, np.empty(count), np.empty(count))


@compiled
def clamp(value: float, low: float, high: float) -> float:
    """The value, or the bound it lies beyond."""
    return min(max(value, low), high)


@compiled
def wanted_gap(traffic: Traffic, b: int, i: int, ahead: int) -> float:
    """The distance, m, that car i wants to the one ahead, by their speeds along its heading."""
    speed: float = traffic.speed[b, i]
    turn: float = traffic.heading[b, ahead] - traffic.heading[b, i]
    approach: float = speed - traffic.speed[b, ahead] * math.cos(turn)
    return STANDSTILL + speed * HEADWAY + speed * approach / (2 * math.sqrt(GENTLE * HARD))


@compiled
def idm(traffic: Traffic, b: int, i: int, ahead: int, exponent: float) -> float:
    """IDM's acceleration, m/s2, of car i behind another (-1: a free road)."""
    wish = max(abs(clamp(traffic.wish[b, i], 0.0, TOP_SPEED)), _TINY)
    free: float = GENTLE * (1.0 - (max(traffic.speed[b, i], 0.0) / wish) ** exponent)
    if ahead < 0:
        return free
    gap: float = traffic.x[b, ahead] - traffic.x[b, i]
    if abs(gap) <= _TINY:
        gap = _TINY
    return free - GENTLE * (wanted_gap(traffic, b, i, ahead) / gap) ** 2


@compiled
def _is_on(y: float, lane: int) -> bool:
    """Whether a car at a position across the road is on a lane, with a metre to spare."""
    return abs(y - LANE_WIDTH * lane) <= LANE_WIDTH / 2 + 1.0


@compiled
def neighbours(traffic: Traffic, b: int, i: int, lane: int) -> tuple[int, int]:
    """The next cars on a lane before and behind car i; -1 where there is none."""
    front, rear = -1, -1
    place, nearest, hindmost = traffic.x[b, i], 0.0, 0.0
    for j in range(traffic.x.shape[1]):
        if j == i or not _is_on(traffic.y[b, j], lane):
            continue
        other = traffic.x[b, j]
        if other >= place:
            if front < 0 or other <= nearest:
                front, nearest = j, other
        elif rear < 0 or other > hindmost:
            rear, hindmost = j, other
    return front, rear


@compiled
def lane_of(y: float, lanes: int) -> int:
    """The lane nearest to a position across the road."""
    return min(max(round(y / LANE_WIDTH), 0), lanes - 1)


@compiled
def _sort(order: Integers, place: Floats) -> None:
    """Order cars from the last to the first, by insertion: the order hardly changes in a frame."""
    for k in range(1, len(order)):
        i, before = order[k], k - 1
        while before >= 0 and place[order[before]] > place[i]:
            order[before + 1] = order[before]
            before -= 1
        order[before + 1] = i


@compiled
def look_ahead(traffic: Traffic, cars: Cars, lanes: int, b: int) -> None:
    """Find the lane of each car and the next one ahead there, in one pass from the first car on.

    `neighbours` finds the same at a cost that grows with the square of the number of cars.
    """
    _sort(cars.order, traffic.x[b])
    hindmost = np.full(lanes, -1)
    for i in cars.order[::-1]:
        cars.lane[i] = lane_of(traffic.y[b, i], lanes)
        cars.leader[i] = hindmost[cars.lane[i]]
        for lane in range(lanes):
            if _is_on(traffic.y[b, i], lane):
                hindmost[lane] = i


@compiled
def _is_cut_off(traffic: Traffic, lane: Integers, b: int, i: int) -> bool:
    """Whether another car is changing to the lane that car i changes to, too closely ahead."""
    for j in range(len(lane)):
        aims = j != i and lane[j] != traffic.lane[b, i] and traffic.lane[b, j] == traffic.lane[b, i]
        if aims:
            distance = traffic.x[b, j] - traffic.x[b, i]
            if 0.0 < distance < wanted_gap(traffic, b, i, j):
                return True
    return False


@compiled
def _mobil(traffic: Traffic, b: int, i: int, lane: int, lanes: int, own: float) -> None:
    """Aim at a lane beside that gains, unless the car behind there would have to brake hard.

    own: the acceleration in the lane where car i is. Car i takes the one behind to accelerate
    with its own exponent.
    """
    exponent = traffic.exponent[b, i]
    for side in (-1, 1):
        new = lane + side
        if new < 0 or new >= lanes:
            continue
        front, rear = neighbours(traffic, b, i, new)
        if rear >= 0 and idm(traffic, b, rear, i, exponent) < -MOST_IMPOSED:
            continue
        if idm(traffic, b, i, front, exponent) - own >= LEAST_GAIN:
            traffic.lane[b, i] = new


@compiled
def _reconsider(traffic: Traffic, cars: Cars, lanes: int, b: int, i: int, own: float) -> float:
    """The acceleration of a car that changes lanes, or thinks of it.

    own: the acceleration in the lane where it is. May change the lane it aims at.
    """
    lane = cars.lane[i]
    if lane != traffic.lane[b, i]:
        if _is_cut_off(traffic, cars.lane, b, i):
            traffic.lane[b, i] = lane
    else:
        traffic.timer[b, i] = 0.0
        if abs(traffic.speed[b, i]) >= 1.0:
            _mobil(traffic, b, i, lane, lanes, own)
    if lane == traffic.lane[b, i]:
        return own
    front, _ = neighbours(traffic, b, i, traffic.lane[b, i])
    return min(own, idm(traffic, b, i, front, traffic.exponent[b, i]))


@compiled
def slip_of(traffic: Traffic, b: int, i: int) -> float:
    """The sine of the angle between a car's heading and its path, as it steers to its lane.

    Wheels at an angle w make a car slip by atan(tan(w) / 2), which is here solved for the slip.
    """
    speed = traffic.speed[b, i]
    if abs(speed) <= _TINY:
        speed = _TINY
    aside = traffic.y[b, i] - LANE_WIDTH * traffic.lane[b, i]
    wanted = clamp(math.asin(clamp(-aside / SIDE_LAG / speed, -1.0, 1.0)), -STEEPEST, STEEPEST)
    turning = (wanted - traffic.heading[b, i]) / HEADING_LAG
    return clamp(_HALF_LENGTH / speed * turning, -_MOST_SLIP, _MOST_SLIP)


@compiled
def _move(traffic: Traffic, b: int, i: int, acceleration: float, slip: float) -> None:
    """Move a car by one frame; slip: the sine of its angle."""
    speed, path = traffic.speed[b, i], traffic.heading[b, i] + math.asin(slip)
    traffic.x[b, i] += speed * math.cos(path) * FRAME_SECONDS
    traffic.y[b, i] += speed * math.sin(path) * FRAME_SECONDS
    traffic.heading[b, i] += speed * slip / _HALF_LENGTH * FRAME_SECONDS
    traffic.speed[b, i] += acceleration * FRAME_SECONDS
    traffic.timer[b, i] += FRAME_SECONDS


@compiled
def _touch(dx: float, dy: float, heading: float, other: float) -> bool:
    """Whether two cars so far apart overlap: no axis of either separates them."""
    if dx * dx + dy * dy > _REACH2 * 1.001:
        return False
    for axis in (heading, heading + math.pi / 2, other, other + math.pi / 2):
        reach = 0.0
        for turn in (heading - axis, other - axis):
            reach += _HALF_LENGTH * abs(math.cos(turn)) + _HALF_WIDTH * abs(math.sin(turn))
        if abs(dx * math.cos(axis) + dy * math.sin(axis)) > reach:
            return False
    return True


@compiled
def _frame(traffic: Traffic, b: int, lanes: int, by_rule: bool, cars: Cars) -> bool:
    """Move all cars of a scenario by one frame; whether the driver's touches another then."""
    look_ahead(traffic, cars, lanes, b)
    count = len(cars.lane)
    for i in range(count):
        if i > 0 or by_rule:
            acceleration = idm(traffic, b, i, cars.leader[i], traffic.exponent[b, i])
            if cars.lane[i] != traffic.lane[b, i] or traffic.timer[b, i] > THINKING:
                acceleration = _reconsider(traffic, cars, lanes, b, i, acceleration)
            acceleration = clamp(acceleration, -MOST_ACCELERATION, MOST_ACCELERATION)
        else:
            acceleration = (traffic.wish[b, i] - traffic.speed[b, i]) / SPEED_LAG
        if traffic.speed[b, i] > FASTEST:
            acceleration = min(acceleration, FASTEST - traffic.speed[b, i])
        cars.acceleration[i], cars.slip[i] = acceleration, slip_of(traffic, b, i)
    for i in range(count):
        _move(traffic, b, i, cars.acceleration[i], cars.slip[i])
    for j in range(1, count):
        dx, dy = traffic.x[b, j] - traffic.x[b, 0], traffic.y[b, j] - traffic.y[b, 0]
        if _touch(dx, dy, traffic.heading[b, 0], traffic.heading[b, j]):
            return True
    return False


@compiled
def advance(traffic: Traffic, lanes: int, by_rule: bool, active: Flags) -> Flags:
    """Move the traffic of the active scenarios by one decision, in place; where it crashed, (B,).

    by_rule: the driver's car drives by IDM and MOBIL like the others, and knows everything.
    """
    crashed = np.zeros(len(active), np.bool_)
    cars = blank(traffic.x.shape[1])
    for b in range(len(active)):
        for _ in range(FRAMES):
            if active[b] and not crashed[b]:
                crashed[b] = _frame(traffic, b, lanes, by_rule, cars)
    return crashed


@compiled
def surroundings(traffic: Traffic, lanes: int, reach: float) -> tuple[Flags, Floats, Floats]:
    """What is around the driver, (B, 6): presence, gaps in m and relative speeds in m/s.

    The slots are front and rear on the lane to the left, on the own and to the right; gaps are
    distances of the middles, negative to the rear. Both numbers are 0 where nothing is within
    reach.
    """
    count = len(traffic.x)
    present = np.zeros((count, 6), np.bool_)
    gaps, speeds = np.zeros((count, 6)), np.zeros((count, 6))
    for b in range(count):
        own = lane_of(traffic.y[b, 0], lanes)
        for k in range(3):
            if not 0 <= own + k - 1 < lanes:
                continue
            front, rear = neighbours(traffic, b, 0, own + k - 1)
            for slot, i in ((2 * k, front), (2 * k + 1, rear)):
                if i >= 0 and abs(traffic.x[b, i] - traffic.x[b, 0]) <= reach:
                    present[b, slot] = True
                    gaps[b, slot] = traffic.x[b, i] - traffic.x[b, 0]
                    speeds[b, slot] = traffic.speed[b, i] - traffic.speed[b, 0]
    return present, gaps, speeds
