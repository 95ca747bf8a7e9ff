"""Files of tracks that are refused, each in one line that names the car, the frame or the row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from apps.driving.recording import as_recording
from apps.driving.shadow import course_of
from apps.driving.track_file import read_track_file
from apps.errors import UserError
from tests.apps.driving.recorded import highd, ngsim, plain

Change = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture(scope="module")
def cars() -> pd.DataFrame:
    return plain()


def without(car: int, frame: int) -> Change:
    return lambda table: table[(table["id"] != car) | (table["frame"] != frame)]


def cell(column: str, value: object) -> Change:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        column_of = table[column].astype(object)
        column_of.iloc[6] = value
        return table.assign(**{column: column_of})

    return change


def curved(table: pd.DataFrame) -> pd.DataFrame:
    """The road turns by an angle that grows with the distance."""
    turn = table["x"] / 400.0
    radius = 400.0 - table["y"]
    return table.assign(x=radius * np.sin(turn), y=400.0 - radius * np.cos(turn))


def turned(table: pd.DataFrame) -> pd.DataFrame:
    """A straight road that lies askew in the coordinates."""
    cos, sin = np.cos(0.5), np.sin(0.5)
    x, y = table["x"], table["y"]
    return table.assign(x=cos * x - sin * y, y=sin * x + cos * y)


def opposite(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(x=table["x"].where(table["id"] != 4, 500.0 - table["x"]))


def in_feet(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(x=table["x"] / 0.3048, y=table["y"] / 0.3048)


def stretched(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(time=table["time"] + 0.2 * (table["frame"] % 2))


def every_other(table: pd.DataFrame) -> pd.DataFrame:
    return table[~table["frame"].isin([4, 9, 14])].drop(columns="time")


def standing(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(time=7.0)


def short(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["frame"] < 6]


def short_ego(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["id"] != 0) | (table["frame"] > 14)]


def metric_ngsim(table: pd.DataFrame) -> pd.DataFrame:
    made = ngsim(table)
    return made.assign(Local_X=0.3048 * made["Local_X"], Local_Y=0.3048 * made["Local_Y"])


BAD: dict[str, tuple[Change, str]] = {
    "missing": (without(2, 5), "id 2 is missing in frame 5, which others are in"),
    "missing from the ego": (without(0, 7), "id 0 is missing in frame 7"),
    "repeated": (
        lambda t: pd.concat([t, t.iloc[[30]]]),
        "data row 181: id 3 is in frame 3 twice",
    ),
    "uneven frames": (every_other, "uneven frame rate: id 0 goes from frame 3 to 5"),
    "uneven times": (stretched, "uneven frame rate: the time of frame"),
    "times stand still": (standing, "the times do not rise with the frames"),
    "no times": (lambda t: t.drop(columns="time"), "no column time, in seconds; add one, or frame"),
    "one frame": (lambda t: t[t["frame"] == 3], "every id is in one frame alone"),
    "unknown ego": (lambda t: t[t["id"] != 0], "ego=0: no such id; there are 1, 2, 3"),
    "one lane": (lambda t: t.assign(lane=2), "all cars are on lane 2"),
    "opposite": (opposite, "opposite directions: x of id 0 rises and that of id 4 falls"),
    "opposite in highD": (lambda t: opposite(highd(t)), "opposite directions: x of id 4 rises"),
    "feet": (in_feet, "plain columns in metres: feet or metres? its lanes are 13.1 apart"),
    "metres in NGSIM": (metric_ngsim, "NGSIM in feet: feet or metres? its lanes are 4 apart"),
    "neither": (lambda t: t.assign(y=t["y"] / 100), "they are neither metres nor feet"),
    "short": (short, "ego=0: recorded for 2.5 s; a driver needs 3 s"),
    "short ego": (short_ego, "ego=0: recorded for 2 s"),
    "empty": (cell("x", None), "column 'x', data row 7: an empty cell is not a finite number"),
    "nan": (cell("y", "NaN"), "column 'y', data row 7: an empty cell is not a finite number"),
    "infinite": (cell("x", "inf"), "column 'x', data row 7: 'inf' is not a finite number"),
    "words": (cell("x", "far"), "column 'x', data row 7: 'far' is not a finite number"),
    "empty time": (cell("time", None), "column 'time', data row 7: an empty cell"),
    "no id": (cell("id", None), "column 'id', data row 7: an empty cell is no id"),
    "half a frame": (cell("frame", 1.5), "column 'frame', data row 7: 1.5 is not a whole number"),
    "half a lane": (cell("lane", 1.5), "column 'lane', data row 7: 1.5 is not a whole number"),
    "curved": (curved, "a curved road, or x and y are not along and across it"),
    "turned": (turned, "a curved road, or x and y are not along and across it"),
    "huge frame": (cell("frame", 1e300), "data row 7: 1e+300 is not a whole number"),
    "milliseconds": (
        lambda t: t.assign(time=1000 * t["time"]),
        "0.002 frames a second; allowed: from 1 to 1000; are its times in seconds",
    ),
    "a leap": (
        lambda t: t.assign(x=t["x"] + 60.0 * ((t["id"] == 2) & (t["frame"] > 9))),
        "id 2 reaches frame 10 at 1",
    ),
    "no lanes": (lambda t: t.drop(columns="lane"), "plain columns lacks lane; there are id, frame"),
    "no rows": (lambda t: t.iloc[:0], "a header but no rows"),
}


@pytest.mark.parametrize(("change", "expected"), BAD.values(), ids=list(BAD))
def test_a_bad_file_is_one_line(
    change: Change, expected: str, cars: pd.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "tracks.csv"
    change(cars).to_csv(path, index=False)
    with pytest.raises(UserError) as found:
        course_of(as_recording(read_track_file(path, None), None), "0")
    message = str(found.value)
    assert expected in message
    assert "\n" not in message
    assert message.startswith(("ego=0", str(path)))


def test_the_cure_that_is_named_helps(cars: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "tracks.csv"
    in_feet(cars).to_csv(path, index=False)
    feet = course_of(as_recording(read_track_file(path, None), "feet"), "0")
    cars.drop(columns="time").to_csv(path, index=False)
    metres = course_of(as_recording(read_track_file(path, 2.0), None), "0")
    for found, expected in zip(feet.traffic, metres.traffic, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_typed_columns_are_read_like_text(cars: pd.DataFrame, tmp_path: Path) -> None:
    cars.to_csv(tmp_path / "tracks.csv", index=False)
    typed = cars.astype({"id": float, "frame": float})
    typed.to_parquet(tmp_path / "tracks.parquet")
    files = [read_track_file(tmp_path / f"tracks.{ending}", None) for ending in ("csv", "parquet")]
    assert files[0].rate == files[1].rate == 2.0
    pd.testing.assert_frame_equal(files[0].rows, files[1].rows)
