"""A driver in the shadow of a recorded car: what it would do, while the car goes its own way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from apps.driving.episodes import Sight, look, time_to_collision
from apps.driving.kernels import surroundings
from apps.driving.model import Learned
from apps.driving.recording import Recording
from apps.driving.sensor import Detections
from apps.driving.tracker import Follower
from apps.driving.traffic import (
    ACTIONS,
    DECISION_SECONDS,
    LANE_WIDTH,
    LENGTH,
    TOP_SPEED,
    Flags,
    Floats,
    Road,
    Traffic,
    empty,
)
from apps.errors import UserError

SHORTEST = 3.0  # s, of the track of the car that is shadowed
SLOTS = ("left_front", "left_rear", "front", "rear", "right_front", "right_rear")
_AWAY = 1e9  # m, across the road, of a car that is not there
_NAMED = 8  # ids in a message


class Course(NamedTuple):
    """What the shadowed car meets at its T decisions: everything around it, and its own frames."""

    traffic: Traffic
    frames: pd.Series
    times: Floats


def course_of(recording: Recording, ego: str) -> Course:
    """The traffic around a car, twice a second from its first frame to its last.

    Each moment is a scenario of its own, the shadowed car the first of its cars. Places between two
    frames are interpolated, speeds are those of the last half second. Gaps count from bumper to
    bumper, plus the 5 m that every simulated car is long.

    Raises UserError for a car that is not there, or for less than 3 s.
    """
    tracks = dict(list(recording.rows.groupby("id", sort=False)))
    if ego not in tracks:
        some = ", ".join(list(tracks)[:_NAMED]) + (", ..." if len(tracks) > _NAMED else "")
        raise UserError(f"ego={ego}: no such id; there are {some} ({len(tracks)} cars)")
    own = tracks.pop(ego)
    first, last = own["time"].iloc[0], own["time"].iloc[-1]
    if last - first < SHORTEST - 1e-9:
        raise UserError(
            f"ego={ego}: recorded for {last - first:.3g} s; a driver needs {SHORTEST:g} s at least"
        )
    times = np.arange(first, last + 1e-9, DECISION_SECONDS)
    met = [t for t in tracks.values() if t["time"].iloc[0] <= last and t["time"].iloc[-1] >= first]
    traffic = empty(Road(recording.lanes, max(len(met), 1), 1), len(times))
    traffic.y[:] = _AWAY
    for number, track in enumerate([own, *(track for track in met if len(track) > 1)]):
        _place(traffic, number, track, times)
    _shorten(traffic, own, met)
    nearest = np.searchsorted(own["time"].to_numpy(), times - 1e-9).clip(max=len(own) - 1)
    return Course(traffic, own["frame"].iloc[nearest], times - first)


def _place(traffic: Traffic, number: int, track: pd.DataFrame, times: Floats) -> None:
    """Put a car into the scenarios of the moments at which it was recorded."""
    known = track["time"].to_numpy()
    there = (times >= known[0] - 1e-9) & (times <= known[-1] + 1e-9)
    before = np.searchsorted(known, times + 1e-9, side="right").clip(min=1) - 1
    lane, aside = (track[name].to_numpy()[before] for name in ("lane", "aside"))
    start = np.maximum(times - DECISION_SECONDS, known[0])
    end = np.minimum(start + DECISION_SECONDS, known[-1])
    start = np.minimum(start, np.maximum(end - DECISION_SECONDS, known[0]))
    along = track["x"].to_numpy()
    speed = (np.interp(end, known, along) - np.interp(start, known, along)) / (end - start)
    traffic.x[there, number] = np.interp(times, known, along)[there]
    traffic.y[there, number] = LANE_WIDTH * (lane + aside)[there]
    traffic.lane[there, number] = lane[there]
    traffic.speed[there, number] = np.maximum(speed, 0.0)[there]
    traffic.wish[there, number] = np.clip(speed, 0.0, TOP_SPEED)[there]


def _shorten(traffic: Traffic, own: pd.DataFrame, met: Sequence[pd.DataFrame]) -> None:
    """Move the cars so that each gap is that of two cars of 5 m with the same room between."""
    others = [track for track in met if len(track) > 1]
    lengths = np.array([track["length"].median() for track in others])
    extra = (lengths + float(own["length"].median())) / 2 - LENGTH
    place = traffic.x[:, :1]
    gaps = traffic.x[:, 1 : len(others) + 1] - place
    traffic.x[:, 1 : len(others) + 1] = place + np.sign(gaps) * np.maximum(np.abs(gaps) - extra, 0)


class Seen(NamedTuple):
    """The six cars around at T decisions, (T, 6): presence, gaps in m, relative speeds in m/s."""

    present: Flags
    gaps: Floats
    speeds: Floats


def shadow(
    recording: Recording, ego: str, net: torch.nn.Module, reach: float
) -> tuple[pd.DataFrame, str]:
    """A row for each decision of a network beside a recorded car, and a line on how they came.

    The sensor sees as far as that of the training, and here neither errs nor fails.
    """
    course = course_of(recording, ego)
    seen = Seen(*surroundings(course.traffic, recording.lanes, reach))
    driver, follower = Learned(net), Follower(changes_lanes=False)
    actions, ruled = [], []
    for t in range(len(course.times)):
        sight = _sight(course, seen, recording.lanes, t)
        actions.append(int(driver.decide(sight).actions[0]))
        ruled.append(int(follower.decide(sight).actions[0]))
    if not driver.finite:
        raise UserError("the network's answers to this file are not finite; train another run")
    chances = torch.cat(driver.logits).softmax(dim=-1).double().numpy()
    closing = time_to_collision(seen.gaps, seen.speeds, seen.present)
    gaps = np.where(seen.present, seen.gaps, np.nan)
    table = pd.DataFrame(
        {
            "time": course.times,
            "frame": course.frames.to_numpy(),
            "lane": course.traffic.lane[:, 0] + 1,
            "speed": course.traffic.speed[:, 0],
            "action": [ACTIONS[action] for action in actions],
            **{f"p_{name}": chances[:, k] for k, name in enumerate(ACTIONS)},
            "value": torch.cat(driver.values).double().numpy(),
            **{f"gap_{name}": gaps[:, k] for k, name in enumerate(SLOTS)},
            "time_to_collision": np.where(np.isfinite(closing), closing, np.nan),
            "idm_action": [ACTIONS[action] for action in ruled],
        }
    )
    told = (
        f"{'; '.join(recording.notes)}; in the shadow of {ego} for {course.times[-1]:g} s, open "
        "loop: the car goes its recorded way, whatever is chosen"
    )
    return table, told


def _sight(course: Course, seen: Seen, lanes: int, t: int) -> Sight:
    """What a driver knows at a decision."""
    traffic = Traffic._make(part[t : t + 1] for part in course.traffic)
    present, gaps = seen.present[t : t + 1], seen.gaps[t : t + 1]
    detected = Detections(present, np.where(present, gaps, 0.0))
    return look(traffic, lanes, detected, np.zeros(1))
