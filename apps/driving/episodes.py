"""Driving through scenarios, and what is recorded of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from apps.driving.kernels import advance, surroundings
from apps.driving.scenarios import Highway, Scenes
from apps.driving.sensor import SLOTS, Detections
from apps.driving.traffic import (
    FASTER,
    LANE_WIDTH,
    LEFT,
    LENGTH,
    RIGHT,
    SLOWER,
    SPEED_STEP,
    TOP_SPEED,
    Flags,
    Floats,
    Integers,
    Traffic,
)


class Sight(NamedTuple):
    """What a driver knows before a decision, of B cars.

    speed, wish: m/s. aside: from the middle of the lane aimed at, in lanes. lane, lanes: where the
    car is, and how many there are. detected: what the sensor says. chance: a uniform, for those
    who draw.
    """

    speed: Floats
    wish: Floats
    aside: Floats
    lane: Integers
    lanes: int
    detected: Detections
    chance: Floats


class Choice(NamedTuple):
    """A driver's actions (B,), and where it believes the six cars around: m and m/s, (B, 6).

    A belief is NaN where a driver has none.
    """

    actions: Integers
    gaps: Floats
    speeds: Floats


class Driver(Protocol):
    """Whoever decides; made anew for every drive, since it may remember."""

    by_rule: bool  # whether the simulation drives, which knows everything

    def decide(self, sight: Sight) -> Choice:
        """Choose an action for each car."""


class World(Protocol):
    """Where B scenarios go on; the port of highway-env, or that itself."""

    @property
    def traffic(self) -> Traffic:
        """The cars as they are now."""

    def step(self, actions: Integers, active: Flags) -> Flags:
        """Move the active scenarios by one decision; where the driver's car crashed, (B,)."""


class Port:
    """The simulation of this package, from some traffic on.

    by_rule: the driver's car drives by IDM and MOBIL, and what is decided counts for nothing.
    """

    def __init__(self, traffic: Traffic, lanes: int, *, by_rule: bool) -> None:
        self.traffic = traffic.copy()
        self._lanes = lanes
        self._by_rule = by_rule
        if by_rule:
            self.traffic.wish[:, 0] = TOP_SPEED

    def step(self, actions: Integers, active: Flags) -> Flags:
        """Move the active scenarios by one decision."""
        if not self._by_rule:
            aim(self.traffic, actions, self._lanes)
        crashed: Flags = advance(self.traffic, self._lanes, self._by_rule, active)
        return crashed


class Believing(NamedTuple):
    """The cars around at every decision, (T, B, 6): what is true, what was seen and believed."""

    present: Flags
    seen: Flags
    gaps: Floats
    speeds: Floats
    believed_gaps: Floats
    believed_speeds: Floats


@dataclass(frozen=True, slots=True)
class Drive:
    """A drive through B scenarios in T decisions; all (T, B), but for `around`.

    active: before a decision, whether the car has not crashed yet. crashed: in this decision.
    distance: m, driven in it. changed: whether another lane was aimed at. lane: where the car was.
    """

    actions: Integers
    lane: Integers
    active: Flags
    crashed: Flags
    distance: Floats
    changed: Flags
    around: Believing


def drive(highway: Highway, scenes: Scenes, driver: Driver, world: World | None = None) -> Drive:
    """Drive through scenarios from beginning to end, or to a crash.

    world: where; by default the simulation of this package, from the scenarios' traffic on.
    """
    road = highway.road
    world = world or Port(scenes.traffic, road.lanes, by_rule=driver.by_rule)
    active = np.ones(len(scenes.chance), np.bool_)
    rows: list[tuple[Integers | Flags | Floats, ...]] = []
    for t in range(road.decisions):
        traffic = world.traffic
        present, gaps, speeds = surroundings(traffic, road.lanes, highway.sensor.range)
        hidden, noise = scenes.faults.hidden[:, t], scenes.faults.noise[:, t]
        detected = highway.sensor.detect(present, gaps, hidden, noise)
        sight = look(traffic, road.lanes, detected, scenes.chance[:, t])
        choice = driver.decide(sight)
        aimed, place = traffic.lane[:, 0].copy(), traffic.x[:, 0].copy()
        crashed = world.step(choice.actions, active)
        traffic = world.traffic
        distance, changed = traffic.x[:, 0] - place, traffic.lane[:, 0] != aimed
        believed = choice.gaps, choice.speeds
        own = (choice.actions, sight.lane, active, crashed, distance, changed & active)
        rows.append((*own, present, detected.seen, gaps, speeds, *believed))
        active = active & ~crashed
    found = [np.stack(column) for column in zip(*rows, strict=True)]
    actions, lane, before, crashes, distance, changed = found[:6]
    around = Believing._make(found[6:])
    return Drive(actions, lane, before, crashes, distance, changed, around)


def look(traffic: Traffic, lanes: int, detected: Detections, chance: Floats) -> Sight:
    """What the drivers know."""
    lane = np.clip(np.rint(traffic.y[:, 0] / LANE_WIDTH).astype(np.int64), 0, lanes - 1)
    aside = traffic.y[:, 0] / LANE_WIDTH - traffic.lane[:, 0]
    own = traffic.speed[:, 0].copy(), traffic.wish[:, 0].copy()
    return Sight(*own, aside, lane, lanes, detected, chance)


def aim(traffic: Traffic, actions: Integers, lanes: int) -> None:
    """Turn actions into a lane and a speed to aim at, in place.

    The new speed is the next multiple of 5 m/s from the present speed, as in highway-env.
    """
    most = round(TOP_SPEED / SPEED_STEP)
    step = np.clip(np.rint(traffic.speed[:, 0] / SPEED_STEP), 0, most)
    change = (actions == FASTER).astype(np.float64) - (actions == SLOWER)
    new = SPEED_STEP * np.clip(step + change, 0, most)
    traffic.wish[:, 0] = np.where(change != 0, new, traffic.wish[:, 0])
    aside = (actions == RIGHT).astype(np.int64) - (actions == LEFT)
    traffic.lane[:, 0] = np.clip(traffic.lane[:, 0] + aside, 0, lanes - 1)


def time_to_collision(gaps: Floats, speeds: Floats, present: Flags) -> Floats:
    """Seconds until the car ahead is touched at these speeds, (...,) from (..., 6); inf: never."""
    closing = -speeds[..., SLOTS // 2 - 1]
    room = gaps[..., SLOTS // 2 - 1] - LENGTH
    nearing = present[..., SLOTS // 2 - 1] & (closing > 0)
    return np.where(nearing, np.maximum(room, 0.0) / np.where(nearing, closing, 1.0), np.inf)
