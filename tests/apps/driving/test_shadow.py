"""A driver in the shadow of a recorded car: layouts, gaps, decisions, the verb."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from apps.driving.drivers import Unknowing
from apps.driving.episodes import drive, time_to_collision
from apps.driving.model import NUM_FEATURES, RecurrentDriver
from apps.driving.recording import as_recording
from apps.driving.shadow import SLOTS, course_of, shadow
from apps.driving.track_file import read_track_file
from tests.apps.driving.recorded import HIGHWAY, highd, ngsim, plain
from tests.apps.driving.test_verbs import train
from tests.conftest import refused, succeed

GAPS = [f"gap_{name}" for name in SLOTS]


@pytest.fixture(scope="module")
def cars() -> pd.DataFrame:
    return plain()


@pytest.fixture(scope="module")
def net() -> RecurrentDriver:
    torch.manual_seed(1)
    return RecurrentDriver(NUM_FEATURES, hidden_size=8)


def shadowed(
    table: pd.DataFrame, folder: Path, net: RecurrentDriver, rate: float | None = None
) -> tuple[pd.DataFrame, str]:
    table.to_csv(folder / "tracks.csv", index=False)
    recording = as_recording(read_track_file(folder / "tracks.csv", rate), None)
    return shadow(recording, "0", net, 80.0)


def test_the_gaps_are_those_of_the_simulation(
    cars: pd.DataFrame, net: RecurrentDriver, tmp_path: Path
) -> None:
    found, told = shadowed(cars, tmp_path, net)
    around = drive(HIGHWAY, HIGHWAY.scenes("val", [3]), Unknowing()).around
    true = np.where(around.present[:, 0], around.gaps[:, 0], np.nan)
    assert np.isfinite(true).sum() > 40
    np.testing.assert_allclose(found[GAPS], true, atol=1e-6)
    closing = time_to_collision(around.gaps, around.speeds, around.present)[:, 0]
    near = (closing < 20) & (found["time"] > 0.5).to_numpy()
    assert near.sum() > 3
    # Speeds of the file are means over the last half second, those of the simulation are not:
    # at most 6 m/s2 for a quarter of a second lie between them.
    speeds = (found["gap_front"] - 5.0)[near] / found["time_to_collision"][near]
    expected = (true[:, 2] - 5.0)[near] / closing[near]
    np.testing.assert_allclose(speeds, expected, atol=1.5)
    assert "open loop" in told
    assert "9 cars on 3 lanes, 2 frames a second" in told


@pytest.mark.parametrize(
    ("layout", "rate", "said"),
    [(highd, 2.0, "highD"), (ngsim, None, "feet read as 0.3048 m")],
    ids=["highd", "ngsim"],
)
def test_every_layout_says_the_same(
    layout: Callable[[pd.DataFrame], pd.DataFrame],
    rate: float | None,
    said: str,
    cars: pd.DataFrame,
    net: RecurrentDriver,
    tmp_path: Path,
) -> None:
    expected, _ = shadowed(cars, tmp_path, net)
    found, told = shadowed(layout(cars), tmp_path, net, rate)
    assert said in told
    assert list(found["action"]) == list(expected["action"])
    numbers = [name for name in expected.select_dtypes("number") if name != "frame"]
    # CSV holds 17 digits; what is added and multiplied by to change units rounds the last ones.
    np.testing.assert_allclose(found[numbers], expected[numbers], rtol=1e-4, atol=1e-6)


def test_more_frames_change_no_decision(
    cars: pd.DataFrame, net: RecurrentDriver, tmp_path: Path
) -> None:
    """Of a file at 25 Hz, whose frames lie between the decisions, places are interpolated."""
    times = np.arange(0.0, 9.5 + 1e-9, 0.04)
    fine = pd.concat(
        pd.DataFrame(
            {
                "id": car,
                "frame": np.arange(len(times)),
                "x": np.interp(times, own["time"], own["x"]),
                "y": np.interp(times, own["time"], own["y"]),
                "lane": own["lane"].to_numpy()[(times / 0.5 + 1e-9).astype(int)],
            }
        )
        for car, own in cars.groupby("id")
    )
    expected, _ = shadowed(cars, tmp_path, net)
    found, _ = shadowed(fine, tmp_path, net, 25.0)
    # 9.5 s are no multiple of 0.04 s: the last decision lies beyond the last frame. Between two
    # frames the kinks at 2 Hz are cut, by at most 6 m/s2 over 0.04 s.
    same = ["speed", "gap_front"]
    np.testing.assert_allclose(found[same], expected[same].iloc[:-1], atol=0.01)
    assert list(found["frame"]) == [int(np.ceil(12.5 * k)) for k in range(19)]


def test_lengths_count_from_bumper_to_bumper(cars: pd.DataFrame, tmp_path: Path) -> None:
    cars.assign(length=np.where(cars["id"] == 0, 5.0, 15.0)).to_csv(tmp_path / "t.csv", index=False)
    lorries = course_of(as_recording(read_track_file(tmp_path / "t.csv", None), None), "0")
    cars.to_csv(tmp_path / "t.csv", index=False)
    plain_ones = course_of(as_recording(read_track_file(tmp_path / "t.csv", None), None), "0")
    gaps = [course.traffic.x[:, 1:] - course.traffic.x[:, :1] for course in (lorries, plain_ones)]
    far = np.abs(gaps[1]) > 5.0
    assert far.any()
    np.testing.assert_allclose(np.abs(gaps[1][far]) - np.abs(gaps[0][far]), 5.0)


def test_the_verb_writes_a_row_for_each_decision(cars: pd.DataFrame, empty_folder: Path) -> None:
    run = train(empty_folder / "run", "training.epochs=1")
    source, target = empty_folder / "tracks.csv", empty_folder / "out.csv"
    cars.to_csv(source, index=False)
    given = (f"run={run}", f"input={source}", f"output={target}")
    out = succeed("predict", *given, "ego=0")
    assert "20 rows written" in out
    table = pd.read_csv(target)
    assert table["time"].to_list() == [0.5 * k for k in range(20)]
    chances = table[[f"p_{name}" for name in ("left", "keep", "right", "faster", "slower")]]
    np.testing.assert_allclose(chances.sum(axis=1), 1.0, atol=1e-4)
    assert set(table["idm_action"]) <= {"keep", "faster", "slower"}
    assert table["value"].notna().all()
    target.unlink()
    for more, expected in (
        ((), "ego: is missing; ego=ID names the car"),
        (("ego=99",), "ego=99: no such id; there are 0, 1, 2, 3, 4, 5, 6, 7, ... (9 cars)"),
        (("ego=true",), "ego=True: must be a whole number or a word"),
        (("ego=0", "units=feet"), "units=feet: feet or metres?"),
    ):
        assert expected in refused("predict", *given, *more)
        assert not target.exists()


def test_other_applications_take_no_car(trained: Path, load_csv: Path, empty_folder: Path) -> None:
    given = (f"run={trained}", f"input={load_csv}", f"output={empty_folder / 'out.csv'}")
    assert "ego=3: app=energy takes no ego" in refused("predict", *given, "ego=3")
