"""How well was driven."""

from __future__ import annotations

import numpy as np
import pandas as pd

from apps.driving.episodes import Drive, time_to_collision
from apps.driving.scenarios import Highway
from apps.driving.traffic import DECISION_SECONDS, TOP_SPEED, Flags, Floats, Integers

CLOSE = 2.0  # s to a collision, below which it was close
RECENT = 4  # decisions: beliefs are judged of cars that were seen so lately


def table_of(drive: Drive, highway: Highway, split: str) -> pd.DataFrame:
    """One row for each scenario: what happened, and the sums that the scores are made of.

    `actions` are the decisions as digits, with which the drive can be repeated.
    """
    active, around = drive.active, drive.around
    close = time_to_collision(around.gaps, around.speeds, around.present) < CLOSE
    distance = (drive.distance * active).sum(axis=0)
    crashed = drive.crashed.any(axis=0)
    asked = _asked(around.seen, drive.lane) & around.present & active[..., None]
    whole = TOP_SPEED * highway.road.seconds
    return pd.DataFrame(
        {
            "split": split,
            "scenario": np.arange(active.shape[1]),
            "score": np.where(crashed, 0.0, 100.0 * distance / whole),
            "collided": crashed,
            "distance": distance,
            "seconds": active.sum(axis=0) * DECISION_SECONDS,
            "lane_changes": drive.changed.sum(axis=0),
            "close": (close & active).sum(axis=0) * DECISION_SECONDS,
            "asked": asked.sum(axis=(0, 2)),
            "gap_error": _squares(around.believed_gaps - around.gaps, asked),
            "speed_error": _squares(around.believed_speeds - around.speeds, asked),
            "actions": ["".join(map(str, column)) for column in drive.actions.T],
        }
    )


def _asked(seen: Flags, lane: Integers) -> Flags:
    """Where a slot was seen in one of the last few decisions, and the lane was the same since.

    There a tracker has a belief.
    """
    recent, steady = seen.copy(), np.ones(lane.shape, np.bool_)
    for back in range(1, RECENT + 1):
        steady[back:] &= lane[back:] == lane[:-back]
        recent[back:] |= seen[:-back] & steady[back:, :, None]
    return recent


def _squares(errors: Floats, where: Flags) -> Floats:
    """Sums of squared errors by scenario; NaN for a driver without beliefs."""
    sums: Floats = np.where(where, errors**2, 0.0).sum(axis=(0, 2))
    return sums


def scores(table: pd.DataFrame) -> dict[str, float]:
    """The scores of the scenarios in a table.

    score: 100 times the distance driven over that at 30 m/s, 0 after a collision, in the mean.
    collisions: % of the scenarios; collisions_100km: in 100 km. kmh: speed while driving.
    lane_changes: in a km. close: % of the time under 2 s to a collision. gap_rmse, speed_rmse: of
    the cars around that were seen in the last 2 s, m and m/s; NaN for who believes nothing.
    """
    kilometres, seconds = table["distance"].sum() / 1000.0, table["seconds"].sum()
    asked = max(int(table["asked"].sum()), 1)
    return {
        "score": float(table["score"].mean()),
        "collisions": 100.0 * float(table["collided"].mean()),
        "collisions_100km": 100.0 * float(table["collided"].sum() / kilometres),
        "kmh": float(3600.0 * kilometres / seconds),
        "lane_changes": float(table["lane_changes"].sum() / kilometres),
        "close": 100.0 * float(table["close"].sum() / seconds),
        "gap_rmse": float(np.sqrt(table["gap_error"].sum(skipna=False) / asked)),
        "speed_rmse": float(np.sqrt(table["speed_error"].sum(skipna=False) / asked)),
    }
