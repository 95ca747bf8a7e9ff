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
_HALF_LENGTH, _HALF_WIDTH = LENGTH / 2, WIDTH / 2
_REACH2 = LENGTH**2 + WIDTH**2  # squared distance at which two cars can touch at most
_TINY = 1e-2  # in the place of a divisor of zero

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """The function compiled at its first call."""
    return cast(_Function, numba.njit(cache=True)(function))


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
def neighbours(traffic: Traffic, b: int, i: int, lane: int) -> tuple[int, int]:
    """The next cars on a lane before and behind car i; -1 where there is none."""
    front, rear = -1, -1
    place, nearest, hindmost = traffic.x[b, i], 0.0, 0.0
    for j in range(traffic.x.shape[1]):
        if j == i or abs(traffic.y[b, j] - LANE_WIDTH * lane) > LANE_WIDTH / 2 + 1.0:
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
def _drive(traffic: Traffic, lane: Integers, lanes: int, b: int, i: int) -> float:
    """The acceleration of a car that drives by IDM and MOBIL; may change the lane it aims at."""
    exponent = traffic.exponent[b, i]
    front, _ = neighbours(traffic, b, i, lane[i])
    acceleration = idm(traffic, b, i, front, exponent)
    if lane[i] != traffic.lane[b, i]:
        if _is_cut_off(traffic, lane, b, i):
            traffic.lane[b, i] = lane[i]
    elif traffic.timer[b, i] > THINKING:
        traffic.timer[b, i] = 0.0
        if abs(traffic.speed[b, i]) >= 1.0:
            _mobil(traffic, b, i, lane[i], lanes, acceleration)
    if lane[i] != traffic.lane[b, i]:
        front, _ = neighbours(traffic, b, i, traffic.lane[b, i])
        acceleration = min(acceleration, idm(traffic, b, i, front, exponent))
    return clamp(acceleration, -MOST_ACCELERATION, MOST_ACCELERATION)


@compiled
def _slip(traffic: Traffic, b: int, i: int) -> float:
    """The angle between a car's heading and its path, as it steers to the lane it aims at."""
    speed = traffic.speed[b, i]
    if abs(speed) <= _TINY:
        speed = _TINY
    aside = traffic.y[b, i] - LANE_WIDTH * traffic.lane[b, i]
    wanted = clamp(math.asin(clamp(-aside / SIDE_LAG / speed, -1.0, 1.0)), -STEEPEST, STEEPEST)
    turning = (wanted - traffic.heading[b, i]) / HEADING_LAG
    sideways = math.asin(clamp(_HALF_LENGTH / speed * turning, -1.0, 1.0))
    wheels = clamp(math.atan(2.0 * math.tan(sideways)), -SHARPEST, SHARPEST)
    return math.atan(0.5 * math.tan(wheels))


@compiled
def _move(traffic: Traffic, b: int, i: int, acceleration: float, slip: float) -> None:
    """Move a car by one frame."""
    speed, heading = traffic.speed[b, i], traffic.heading[b, i]
    traffic.x[b, i] += speed * math.cos(heading + slip) * FRAME_SECONDS
    traffic.y[b, i] += speed * math.sin(heading + slip) * FRAME_SECONDS
    traffic.heading[b, i] += speed * math.sin(slip) / _HALF_LENGTH * FRAME_SECONDS
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
def _frame(traffic: Traffic, b: int, lanes: int, by_rule: bool, work: Floats) -> bool:
    """Move all cars of a scenario by one frame; whether the driver's touches another then."""
    cars = traffic.x.shape[1]
    lane = np.empty(cars, np.int64)
    for i in range(cars):
        lane[i] = lane_of(traffic.y[b, i], lanes)
    for i in range(cars):
        if i > 0 or by_rule:
            acceleration = _drive(traffic, lane, lanes, b, i)
        else:
            acceleration = (traffic.wish[b, i] - traffic.speed[b, i]) / SPEED_LAG
        if traffic.speed[b, i] > FASTEST:
            acceleration = min(acceleration, FASTEST - traffic.speed[b, i])
        work[0, i], work[1, i] = acceleration, _slip(traffic, b, i)
    for i in range(cars):
        _move(traffic, b, i, work[0, i], work[1, i])
    for j in range(1, cars):
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
    work = np.empty((2, traffic.x.shape[1]))
    for b in range(len(active)):
        for _ in range(FRAMES):
            if active[b] and not crashed[b]:
                crashed[b] = _frame(traffic, b, lanes, by_rule, work)
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
