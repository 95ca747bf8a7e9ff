"""What a practitioner would use on the same detections: alpha-beta tracks, IDM, and a lane rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from apps.driving.episodes import Choice, Sight
from apps.driving.kernels import GENTLE, HARD, HEADWAY, MOST_IMPOSED, STANDSTILL
from apps.driving.sensor import SLOTS
from apps.driving.traffic import (
    DECISION_SECONDS,
    FASTER,
    KEEP,
    LEFT,
    RIGHT,
    SLOWER,
    SPEED_STEP,
    TOP_SPEED,
    Flags,
    Floats,
    Integers,
)

ALPHA, BETA = 0.5, 0.25  # shares of a surprise that correct a gap and a speed
PATIENCE = 12  # decisions for which an unseen car is believed in; with fewer it collides more
_JUMP = 10.0  # m, of a surprise that is another car
_UNSEEN = 99
_OWN = 2  # slot of the car ahead
_LEAST_GAIN, _LEAST_ROOM = 0.5, 10.0  # m/s2 and m, of a change of lanes
_STEADY = 0.1  # lanes, aside of which no further change begins
_EXPONENT = 4  # of IDM's free acceleration
_LEAST_GAP = 0.5  # m, in the place of a smaller one


@dataclass
class Tracks:
    """Gaps (m), relative speeds (m/s) and decisions since the last detection, (B, 6)."""

    gaps: Floats
    speeds: Floats
    ages: Integers

    @property
    def believed(self) -> Flags:
        """Where a car is believed in."""
        return self.ages <= PATIENCE


class Tracker:
    """An alpha-beta filter of each of the six gaps, which move with the lane.

    Kalata 1984, The tracking index. A car that is not seen is believed to go on as before for six
    seconds.
    """

    def __init__(self) -> None:
        self._tracks: Tracks | None = None
        self._lane: Integers | None = None

    def update(self, sight: Sight) -> Tracks:
        """Take in what was detected."""
        seen, gaps = sight.detected
        if self._tracks is None or self._lane is None:
            tracks = Tracks(
                np.zeros(gaps.shape), np.zeros(gaps.shape), np.full(gaps.shape, _UNSEEN)
            )
        else:
            tracks = _shifted(self._tracks, sight.lane - self._lane)
        ahead = tracks.gaps + tracks.speeds * DECISION_SECONDS
        surprise = gaps - ahead
        fresh = ~tracks.believed | (np.abs(surprise) > _JUMP)
        corrected = np.where(fresh, gaps, ahead + ALPHA * surprise)
        faster = np.where(fresh, 0.0, tracks.speeds + BETA * surprise / DECISION_SECONDS)
        self._lane = sight.lane
        self._tracks = Tracks(
            np.where(seen, corrected, ahead),
            np.where(seen, faster, tracks.speeds),
            np.where(seen, 0, tracks.ages + 1),
        )
        return self._tracks


def _shifted(tracks: Tracks, lanes: Integers) -> Tracks:
    """The tracks as they lie after so many lanes to the right, (B,)."""
    slots = np.arange(SLOTS) + 2 * lanes[:, None]
    inside = (slots >= 0) & (slots < SLOTS)
    index = np.clip(slots, 0, SLOTS - 1)

    def moved(values: Floats | Integers, empty: float) -> Floats:
        return np.where(inside, np.take_along_axis(values, index, axis=1), empty)

    ages = moved(tracks.ages, _UNSEEN).astype(np.int64)
    return Tracks(moved(tracks.gaps, 0.0), moved(tracks.speeds, 0.0), ages)


class Follower:
    """Follows by IDM on what a tracker believes; changes lanes by a rule like MOBIL's, or not.

    The action is that whose controller comes closest to IDM's acceleration.
    """

    by_rule = False

    def __init__(self, *, changes_lanes: bool) -> None:
        self.changes_lanes = changes_lanes
        self._tracker = Tracker()

    def decide(self, sight: Sight) -> Choice:
        """Choose an action for each car."""
        tracks = self._tracker.update(sight)
        own = _idm(sight.speed, TOP_SPEED, tracks, _OWN)
        wanted = sight.speed + own * 1.2
        slower = np.where(wanted < sight.wish - SPEED_STEP / 2, SLOWER, KEEP)
        actions = np.where(wanted > sight.wish + SPEED_STEP / 2, FASTER, slower)
        if self.changes_lanes:
            sides = ((LEFT, 0, sight.lane > 0), (RIGHT, 4, sight.lane < sight.lanes - 1))
            for action, front, exists in sides:
                gains = _idm(sight.speed, TOP_SPEED, tracks, front) - own > _LEAST_GAIN
                ok = exists & gains & _is_safe(sight, tracks, front)
                actions = np.where(ok & (np.abs(sight.aside) < _STEADY), action, actions)
        known = tracks.believed
        gaps = np.where(known, tracks.gaps, np.nan)
        return Choice(actions, gaps, np.where(known, tracks.speeds, np.nan))


def _is_safe(sight: Sight, tracks: Tracks, front: int) -> Flags:
    """Whether a lane has room ahead, and the car behind on it need not brake hard, (B,)."""
    rear = front + 1
    behind = sight.speed + tracks.speeds[:, rear]
    wish = np.maximum(behind, 20.0)
    braking = _acceleration(behind, wish, -tracks.gaps[:, rear], tracks.speeds[:, rear])
    unhurried = ~tracks.believed[:, rear] | (braking > -MOST_IMPOSED)
    return unhurried & (~tracks.believed[:, front] | (tracks.gaps[:, front] > _LEAST_ROOM))


def _idm(speed: Floats, wish: float, tracks: Tracks, slot: int) -> Floats:
    """IDM's acceleration behind the car of a slot, or on a free road, (B,)."""
    free = _free(speed, np.full_like(speed, wish))
    following = _acceleration(
        speed, np.full_like(speed, wish), tracks.gaps[:, slot], -tracks.speeds[:, slot]
    )
    return np.where(tracks.believed[:, slot], following, free)


def _free(speed: Floats, wish: Floats) -> Floats:
    return GENTLE * (1.0 - (np.maximum(speed, 0.0) / wish) ** _EXPONENT)


def _acceleration(speed: Floats, wish: Floats, gap: Floats, approach: Floats) -> Floats:
    """IDM's acceleration, m/s2, behind a car at a gap (of the middles) that is approached."""
    wanted = STANDSTILL + speed * HEADWAY + speed * approach / (2 * np.sqrt(GENTLE * HARD))
    following: Floats = _free(speed, wish) - GENTLE * (wanted / np.maximum(gap, _LEAST_GAP)) ** 2
    return following
