"""A recorded drive once more, to look at: where every car was at every decision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from apps.driving.episodes import aim
from apps.driving.kernels import advance, lane_of
from apps.driving.scenarios import Highway, Split
from apps.driving.traffic import DECISION_SECONDS, LANE_WIDTH, Traffic


def replay(highway: Highway, split: Split, number: int, actions: Sequence[int]) -> pd.DataFrame:
    """Every car of a scenario at every moment of a drive by these actions, to its end or a crash.

    time: s. car: 0 is the driver's. x: m. lane: across the road, in lanes, 0 the leftmost.
    own_lane: the lane that the driver's car is nearest to. crashed: whether it has by then.
    """
    traffic = highway.scenes(split, [number]).traffic.copy()
    active = np.ones(1, np.bool_)
    moments = [_moment(traffic, 0, highway.lanes, crashed=False)]
    for t, action in enumerate(actions, start=1):
        aim(traffic, np.array([action]), highway.lanes)
        crashed = bool(advance(traffic, highway.lanes, False, active)[0])
        moments.append(_moment(traffic, t, highway.lanes, crashed=crashed))
        if crashed:
            break
    return pd.concat(moments, ignore_index=True)


def _moment(traffic: Traffic, t: int, lanes: int, *, crashed: bool) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "time": t * DECISION_SECONDS,
            "car": np.arange(traffic.x.shape[1]),
            "x": traffic.x[0],
            "lane": traffic.y[0] / LANE_WIDTH,
            "own_lane": lane_of(float(traffic.y[0, 0]), lanes),
            "crashed": crashed,
        }
    )
