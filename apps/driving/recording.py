"""Recorded cars on a straight road, in metres, as the simulation counts lanes and sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from apps.driving.layouts import Units
from apps.driving.track_file import TrackFile
from apps.driving.traffic import LENGTH
from apps.errors import UserError

METRES = {"metres": 1.0, "feet": 0.3048}
_NARROWEST, _WIDEST = 2.5, 5.0  # m, of a lane
_MOVES = 5.0  # m, below which a car's direction is not asked for
_FASTEST = 100.0  # m/s, from one frame to the next
_BEND = 1.5  # lanes, across which the places in one lane may spread


@dataclass(frozen=True, eq=False)
class Recording:
    """Cars on the lanes of one direction.

    rows: id, frame, time (s), x (m, along the way they drive), lane (0 the leftmost), aside (from
    its middle to the right, in lanes) and length (m), by id and time. lanes: how many. notes: how
    the file was read.
    """

    rows: pd.DataFrame
    lanes: int
    rate: float
    notes: tuple[str, ...]


def as_recording(file: TrackFile, units: Units | None) -> Recording:
    """The cars of a file; `units` go before those of its layout.

    Raises UserError for one lane alone, opposite directions, a curved road, lanes whose
    distance is no width of a lane in the units, and a car that leaps.
    """
    lanes = sorted(file.rows["lane"].unique())
    if len(lanes) < 2:
        raise UserError(
            f"{file.path}: all cars are on lane {lanes[0]}; a driver that may change lanes needs "
            "two at least"
        )
    sign = _direction(file)
    across = sign * file.rows["y"]
    middles = across.groupby(file.rows["lane"]).median().sort_values()
    width = float((np.diff(middles) / np.abs(np.diff(middles.index))).mean())
    _check_straight(file, across, width)
    units = _checked(file, width, units)
    metres = METRES[units]
    _check_speeds(file, metres)
    rows = file.rows
    if "length" not in rows:
        rows = rows.assign(length=LENGTH / metres)
    leftmost = middles.index[0]
    recorded = pd.DataFrame(
        {
            "id": rows["id"],
            "frame": rows["frame"],
            "time": (rows["frame"] - rows["frame"].min()) / file.step / file.rate,
            "x": sign * metres * rows["x"],
            "lane": (rows["lane"] - leftmost).abs(),
            "aside": (across - rows["lane"].map(middles)) / width,
            "length": metres * rows["length"],
        }
    )
    count = int(abs(middles.index[-1] - leftmost)) + 1
    return Recording(recorded, count, file.rate, _notes(file, units, count))


def _direction(file: TrackFile) -> int:
    """1 where the cars drive towards larger x, -1 towards smaller; UserError for both."""
    places = file.rows.groupby("id", sort=False)["x"]
    moved = places.last() - places.first()
    # In feet it is a smaller distance, which is as good.
    forward, backward = moved[moved > _MOVES], moved[moved < -_MOVES]
    if len(forward) and len(backward):
        raise UserError(
            f"{file.path}: opposite directions: x of id {forward.index[0]} rises and that of id "
            f"{backward.index[0]} falls; keep the cars of one direction"
        )
    return -1 if len(backward) else 1


def _check_straight(file: TrackFile, across: pd.Series, width: float) -> None:
    """UserError where the places of a lane lie further apart than a lane is wide."""
    spread = across.groupby(file.rows["lane"]).quantile([0.05, 0.95]).unstack()
    spread = spread[0.95] - spread[0.05]
    if spread.max() > _BEND * width:
        lane = spread.idxmax()
        raise UserError(
            f"{file.path}: a curved road, or x and y are not along and across it: y of lane {lane} "
            f"spreads over {spread.max():.3g}, and the next lane is {width:.3g} away; give places "
            "along the road"
        )


def _checked(file: TrackFile, width: float, units: Units | None) -> Units:
    """The units, which make of the lanes' distance that of lanes; UserError if they do not."""
    chosen = units or file.layout.units
    fitting = [u for u, metres in METRES.items() if _NARROWEST <= metres * width <= _WIDEST]
    if chosen in fitting:
        return chosen
    said = f"units={units}" if units else f"{file.layout.name} in {chosen}"
    cure = f"set units={fitting[0]}" if fitting else "they are neither metres nor feet"
    raise UserError(
        f"{file.path}: {said}: feet or metres? its lanes are {width:.3g} apart, which is no lane's "
        f"width ({_NARROWEST:g} to {_WIDEST:g} m); {cure}"
    )


def _check_speeds(file: TrackFile, metres: float) -> None:
    """UserError for a car that leaps, as one does whose id was given to another."""
    speeds = metres * file.rate * file.rows["x"].diff().abs()
    speeds = speeds.where(file.rows["id"].eq(file.rows["id"].shift()), 0.0)
    if speeds.max() > _FASTEST:
        car, frame = file.rows.loc[speeds.idxmax(), ["id", "frame"]]
        raise UserError(
            f"{file.path}: id {car} reaches frame {frame} at {speeds.max():.3g} m/s; allowed: up "
            f"to {_FASTEST:g}; give each car an id of its own"
        )


def _notes(file: TrackFile, units: Units, lanes: int) -> tuple[str, ...]:
    cars = file.rows["id"].nunique()
    notes = [f"{file.layout.name}, {cars} cars on {lanes} lanes, {file.rate:.4g} frames a second"]
    if units == "feet":
        notes.append("feet read as 0.3048 m")
    if "length" not in file.rows:
        notes.append(f"every car taken for {LENGTH:g} m long")
    return tuple(notes)
