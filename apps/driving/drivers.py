"""Drivers that learn nothing, to compare with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from apps.driving.episodes import Choice, Driver, Sight
from apps.driving.tracker import Follower
from apps.driving.traffic import ACTIONS, KEEP, Integers


class Unknowing:
    """A driver that believes nothing about the cars around."""

    by_rule = False

    def decide(self, sight: Sight) -> Choice:
        """Choose an action for each car."""
        unknown = np.full(sight.detected.gaps.shape, np.nan)
        return Choice(self.actions(sight), unknown, unknown)

    def actions(self, sight: Sight) -> Integers:
        """Keep lane and speed."""
        return np.full(len(sight.speed), KEEP)


class Random(Unknowing):
    """Any of the five actions, drawn by the scenario."""

    def actions(self, sight: Sight) -> Integers:
        """The actions that fall to the cars."""
        return (sight.chance * len(ACTIONS)).astype(np.int64)


class Privileged(Unknowing):
    """The driver of all other cars, IDM and MOBIL, which knows every gap and speed exactly."""

    by_rule = True


BASELINES: dict[str, Callable[[], Driver]] = {
    "constant_speed": Unknowing,
    "random": Random,
    "tracker_idm": lambda: Follower(changes_lanes=False),
    "tracker_idm_lanes": lambda: Follower(changes_lanes=True),
    "idm_mobil_privileged": Privileged,
}
