"""The user's file of recorded cars: numbers that are there, once each, evenly in time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from apps.driving.layouts import Layout, find_layout
from apps.driving.traffic import Floats
from apps.errors import UserError
from apps.tables.read import read_table
from apps.tables.table import Table

_UNEVEN = 0.25  # of a frame's duration, by which a time may be rounded
_SLOWEST, _FASTEST = 1.0, 1000.0  # frames a second
_LARGEST = 2**53  # beyond which float64 does not hold every whole number


@dataclass(frozen=True, eq=False)
class TrackFile:
    """Rows of recorded cars in the file's own units, by car and frame.

    rows: id (text), frame, x, y (of the middle, along and across the road), lane, and length where
    the file has it. rate: frames a second, of those that are there. step: from one of them to the
    next, in the file's numbers.
    """

    path: Path
    layout: Layout
    rows: pd.DataFrame
    rate: float
    step: int


def read_track_file(path: Path, frame_rate: float | None) -> TrackFile:
    """The rows of a file; `frame_rate`, by the file's numbers, goes before its times and layout.

    Raises UserError, naming the row, the car or the frame, for an empty cell, one that is no
    finite number, an (id, frame) that is missing or there twice, and frames that are uneven.
    """
    table = read_table(path).without_blank_rows()
    layout, columns = find_layout(table)
    values = {what: _numbers(table, name) for what, name in columns.items() if what != "id"}
    for what in ("frame", "lane"):
        _check_whole(table, columns[what], values[what])
    rows = pd.DataFrame({"id": _ids(table, columns["id"]), **values})
    _check_repeated(table, rows)
    rows = rows.astype({"frame": int, "lane": int}).sort_values(["id", "frame"])
    for axis, extent, share in zip("xy", ("length", "width"), layout.shift, strict=True):
        if share:
            rows[axis] += share * rows[extent]
    step = _step(path, rows)
    rate = frame_rate / step if frame_rate else _rate(path, layout, rows, step)
    if not _SLOWEST <= rate <= _FASTEST:
        raise UserError(
            f"{path}: {rate:.3g} frames a second; allowed: from {_SLOWEST:g} to {_FASTEST:g}; are "
            "its times in seconds, and frame_rate in Hz?"
        )
    return TrackFile(path, layout, rows.drop(columns=["width"], errors="ignore"), rate, step)


def _ids(table: Table, name: str) -> pd.Series:
    """Ids as text; 7.0 is 7."""
    text = table.text(name).str.replace(r"^(\d+)\.0+$", r"\1", regex=True)
    if text.isna().any():
        raise UserError(f"{table.at(int(np.argmax(text.isna())), name)}: an empty cell is no id")
    return text.reset_index(drop=True)


def _numbers(table: Table, name: str) -> Floats:
    text = table.text(name)
    values: Floats = pd.to_numeric(text, errors="coerce").to_numpy(np.float64)
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad))
        cell = "an empty cell" if pd.isna(text.iloc[row]) else repr(text.iloc[row])
        raise UserError(f"{table.at(row, name)}: {cell} is not a finite number")
    return values


def _check_whole(table: Table, name: str, values: Floats) -> None:
    broken = (values != np.round(values)) | (np.abs(values) > _LARGEST)
    if broken.any():
        row = int(np.argmax(broken))
        raise UserError(f"{table.at(row, name)}: {values[row]:g} is not a whole number")


def _check_repeated(table: Table, rows: pd.DataFrame) -> None:
    repeated = rows.duplicated(["id", "frame"]).to_numpy()
    if repeated.any():
        row = int(np.argmax(repeated))
        one = rows.iloc[row]
        raise UserError(
            f"{table.where(row)}: id {one['id']} is in frame {one['frame']:g} twice; give each "
            "car an id of its own, and one recording"
        )


def _step(path: Path, rows: pd.DataFrame) -> int:
    """From one frame of a car to its next; UserError where that is not the same everywhere."""
    follows = rows["id"].eq(rows["id"].shift())
    steps = rows["frame"].diff()[follows].astype(int)
    if steps.empty:
        raise UserError(f"{path}: every id is in one frame alone; a track needs several")
    step = int(steps.mode().iloc[0])
    others = steps[steps != step]
    if others.empty:
        return step
    at = others.index[0]
    car, after = rows.loc[at, "id"], int(rows.loc[at, "frame"])
    lacking = after - int(others.iloc[0]) + step
    if others.iloc[0] > step and (rows["frame"] == lacking).any():
        raise UserError(f"{path}: id {car} is missing in frame {lacking}, which others are in")
    raise UserError(
        f"{path}: uneven frame rate: id {car} goes from frame {after - int(others.iloc[0])} to "
        f"{after}, others from one frame to the {_nth(step)} after it"
    )


def _nth(step: int) -> str:
    return "next" if step == 1 else f"{step}th"


def _rate(path: Path, layout: Layout, rows: pd.DataFrame, step: int) -> float:
    """Frames a second by the times, or the layout; UserError where neither tells."""
    if "time" not in rows:
        if layout.rate is None:
            raise UserError(
                f"{path}: no column time, in seconds; add one, or frame_rate=HZ, as of the numbers "
                "in the column frame"
            )
        return layout.rate / step
    times = rows.drop_duplicates("frame").sort_values("frame")
    numbers = (times["frame"] - times["frame"].iloc[0]).to_numpy() / step
    seconds = layout.tick * (times["time"] - times["time"].iloc[0]).to_numpy()
    duration = seconds[-1] / numbers[-1]
    if not duration > 0:
        raise UserError(f"{path}: the times do not rise with the frames")
    expected = (rows["frame"] - times["frame"].iloc[0]) / step * duration
    astray = (layout.tick * (rows["time"] - times["time"].iloc[0]) - expected).abs()
    if astray.max() > _UNEVEN * duration:
        frame = int(rows.loc[astray.idxmax(), "frame"])
        raise UserError(
            f"{path}: uneven frame rate: the time of frame {frame} is {astray.max():.3g} s from "
            f"where {1 / duration:.4g} frames a second would have it"
        )
    return float(1.0 / duration)
