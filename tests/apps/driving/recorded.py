"""Tracks of simulated cars in the layouts that people have."""

from __future__ import annotations

import numpy as np
import pandas as pd

from apps.driving.kernels import advance, lane_of
from apps.driving.scenarios import Highway
from apps.driving.sensor import Sensor

HIGHWAY = Highway(vehicles=8, seconds=10, sensor=Sensor(occluded=0.0, noise=0.0, relative_noise=0))
FEET = 0.3048


def plain() -> pd.DataFrame:
    """Cars of the simulation at 2 frames a second: the driver's, id 0, keeps lane and speed."""
    traffic = HIGHWAY.scenes("val", [3]).traffic.copy()
    cars, rows = traffic.x.shape[1], []
    for frame in range(HIGHWAY.road.decisions):
        for i in range(cars):
            x, y = float(traffic.x[0, i]), float(traffic.y[0, i])
            rows.append((i, frame, 0.5 * frame, x, y, lane_of(y, 3) + 1))
        advance(traffic, 3, False, np.ones(1, bool))
    return pd.DataFrame(rows, columns=["id", "frame", "time", "x", "y", "lane"])


def highd(table: pd.DataFrame) -> pd.DataFrame:
    """As highD writes the upper carriageway: to the left, from the corner of a box."""
    return pd.DataFrame(
        {
            "frame": table["frame"],
            "id": table["id"],
            "x": 400.0 - table["x"] - 2.5,
            "y": 20.0 - table["y"] - 1.0,
            "width": 5.0,
            "height": 2.0,
            "xVelocity": -20.0,
            "laneId": 5 - table["lane"],
        }
    )


def ngsim(table: pd.DataFrame) -> pd.DataFrame:
    """As NGSIM writes them: feet, from the front bumper, milliseconds since 1970."""
    return pd.DataFrame(
        {
            "Vehicle_ID": table["id"],
            "Frame_ID": 100 + 5 * table["frame"],
            "Global_Time": 1_118_846_980_200 + (1000 * table["time"]).astype(int),
            "Local_X": (table["y"] + 2.0) / FEET,
            "Local_Y": (table["x"] + 2.5) / FEET,
            "v_Length": 5.0 / FEET,
            "Lane_ID": table["lane"],
        }
    )
