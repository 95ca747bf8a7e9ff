"""Pictures of drives: what they are drawn from, and that all of it is there."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from apps.driving.drivers import BASELINES, Random
from apps.driving.episodes import drive
from apps.driving.figures import figures, seed_figures, telling, training_figures
from apps.driving.metrics import table_of
from apps.driving.replay import replay
from apps.driving.scenarios import Highway, Split
from apps.report.charts.theme import png, specification

HIGHWAY = Highway(seconds=10, test=6)


def evaluated(name: str) -> pd.DataFrame:
    """Test and dense drives of a driver, as an evaluation keeps them."""
    splits: tuple[Split, ...] = ("test", "dense")
    return pd.concat(
        [
            table_of(
                drive(HIGHWAY, HIGHWAY.scenes(split, range(HIGHWAY.test)), BASELINES[name]()),
                HIGHWAY,
                split,
            )
            for split in splits
        ],
        ignore_index=True,
    )


@pytest.fixture(scope="module")
def drives() -> dict[str, pd.DataFrame]:
    """Two drivers in the place of trainings, and a rule."""
    names = {"none": "random", "global_norm": "constant_speed", "tracker_idm": "tracker_idm"}
    return {strategy: evaluated(name) for strategy, name in names.items()}


def test_a_replay_is_the_drive(drives: dict[str, pd.DataFrame]) -> None:
    table = drives["none"][drives["none"]["split"] == "dense"]
    assert table["collided"].any()
    for _, row in table.iterrows():
        again = replay(HIGHWAY, "dense", row["scenario"], [int(a) for a in row["actions"]])
        own = again[again["car"] == 0]
        assert own["x"].iloc[-1] - own["x"].iloc[0] == pytest.approx(row["distance"])
        assert own["time"].iloc[-1] == row["seconds"]
        assert own["crashed"].iloc[-1] == row["collided"]
        assert not own["crashed"].iloc[:-1].any()


def test_a_replay_shows_every_car_on_its_lane() -> None:
    scenes = HIGHWAY.scenes("dense", [2])
    actions = drive(HIGHWAY, scenes, Random()).actions[:, 0]
    again = replay(HIGHWAY, "dense", 2, list(actions))
    assert (again.groupby("time").size() == HIGHWAY.vehicles + 1).all()
    first = again[again["time"] == 0]
    assert np.array_equal(first["lane"], scenes.traffic.lane[0])
    assert again["lane"].between(-0.5, HIGHWAY.lanes - 0.5).all()


def test_the_scenario_is_the_one_in_which_scores_differ_most() -> None:
    tables = [
        pd.DataFrame({"score": scores}, index=[4, 5, 6]) for scores in ([1, 2, 3], [2, 9, 10])
    ]
    assert telling(tables) == 5


def test_the_pictures_of_a_scenario(drives: dict[str, pd.DataFrame]) -> None:
    strip, diagram = figures(HIGHWAY, drives)
    text = json.dumps(specification(strip.chart))
    for name in ("unclipped", "global_norm", "tracker_idm"):
        assert text.count(f'"{name}"') == 1
    assert '"crash"' in text
    assert png(specification(diagram.chart)).startswith(b"\x89PNG")
    assert strip.animation is not None
    with Image.open(io.BytesIO(strip.animation)) as moving:
        # A frame for the start and each decision of the longest drive.
        assert moving.n_frames == HIGHWAY.road.decisions + 1
        assert moving.info["duration"] == 250
    assert figures(HIGHWAY, {"tracker_idm": drives["tracker_idm"]}) == []


def test_a_point_for_every_seed_and_rule(drives: dict[str, pd.DataFrame]) -> None:
    trained = {"none": {0: drives["none"], 1: drives["global_norm"]}}
    (figure,) = seed_figures(trained, {"tracker_idm": drives["tracker_idm"]})
    sets = specification(figure.chart)["datasets"].values()
    points = pd.DataFrame([row for rows in sets for row in rows])
    assert len(points) == 6
    mine = points[(points["seed"] == "seed 1") & (points["split"] == "test")].iloc[0]
    table = drives["global_norm"].query("split == 'test'")
    assert mine["score"] == pytest.approx(table["score"].mean())
    assert mine["collisions"] == pytest.approx(100 * table["collided"].mean())
    assert seed_figures({}, {"tracker_idm": drives["tracker_idm"]}) == []


@pytest.mark.parametrize(
    ("made", "count"), [(lambda k: 0.01 * k, 1), (lambda k: np.nan, 0)], ids=["some", "none"]
)
def test_the_course_of_the_divergence(made: Callable[[int], float], count: int) -> None:
    steps = pd.DataFrame(
        [{"clipping": "none", "seed": 0, "step": k, "kl": made(k)} for k in range(1, 400)]
    )
    found = training_figures(steps)
    assert len(found) == count
    for figure in found:
        (rows,) = specification(figure.chart)["datasets"].values()
        assert max(row["kl"] for row in rows) == pytest.approx(3.99)
        assert len(rows) < 200
