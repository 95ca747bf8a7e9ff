"""Autonomous driving: what it brings to the shared verbs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from apps.base.application import Application, Evaluation
from apps.base.task import Optimization, Task
from apps.driving.data import DrivingData
from apps.driving.drivers import BASELINES
from apps.driving.episodes import Driver, drive
from apps.driving.examiner import SPLIT, examine
from apps.driving.figures import figures, seed_figures, training_figures
from apps.driving.intervals import paired_scores
from apps.driving.metrics import scores, table_of
from apps.driving.model import NUM_FEATURES, Learned
from apps.driving.ppo import PPO, Reward
from apps.driving.recording import as_recording
from apps.driving.scenarios import Highway, Split
from apps.driving.shadow import shadow
from apps.driving.task import DrivingTask
from apps.driving.track_file import read_track_file
from apps.errors import UserError
from apps.report.charts.theme import Figure
from apps.report.model.results import Metric
from apps.report.model.step_records import Records
from apps.report.model.tables import NamedTable


class Driving(Application):
    """Driving among cars that a sensor detects badly.

    The arguments are documented in `conf/app/driving.yaml`.
    """

    sources = Highway
    title = "Driving among obstacles"
    metric = "score"
    metrics = (
        Metric("score", "Score", "", "max", 1),
        Metric("collisions", "Collisions", "% of drives", "min", 2),
        Metric("collisions_100km", "Collisions", "in 100 km", "min", 2),
        Metric("kmh", "Speed", "km/h", "max", 1),
        Metric("lane_changes", "Lane changes", "in a km", "min", 2),
        Metric("close", "Under 2 s to a collision", "% of time", "min", 2),
        Metric("gap_rmse", "Gap error", "m", "min", 2),
        Metric("speed_rmse", "Speed error", "m/s", "min", 2),
        Metric("score_dense", "Dense score", "", "max", 1),
        Metric("collisions_dense", "Dense collisions", "% of drives", "min", 2),
    )

    def __init__(
        self, name: str, learning: PPO, reward: Reward, rollouts_per_epoch: int = 20
    ) -> None:
        super().__init__(name)
        if rollouts_per_epoch < 1:
            raise ValueError(
                f"rollouts_per_epoch must be an integer >= 1, got {rollouts_per_epoch}"
            )
        self.learning = learning
        self.reward = reward
        self.rollouts_per_epoch = rollouts_per_epoch

    def datamodule(self, source: Highway, seed: int) -> DrivingData:
        """The scenarios of a road."""
        return DrivingData(
            source, self.learning, rollouts_per_epoch=self.rollouts_per_epoch, seed=seed
        )

    def sizes(self, description: Mapping[str, Any]) -> dict[str, int]:
        """Number of features."""
        return {"num_features": NUM_FEATURES}

    def task(
        self, net: nn.Module, description: Mapping[str, Any], optimization: Optimization
    ) -> Task:
        """Wrap a network with its road, its reward and PPO's loss."""
        highway = Highway.from_dict(dict(description))
        return DrivingTask(net, optimization, highway, self.learning, self.reward)

    def evaluate(self, task: Task, data: DrivingData) -> Evaluation:
        """Drive through the test scenarios with the likeliest actions."""
        return _evaluation(data.highway, lambda: Learned(task.net))

    def examine(
        self, split: str, task: Task, data: DrivingData, *, baselines: bool
    ) -> Iterator[tuple[str, Evaluation]]:
        """Drive in highway-env itself, and in the port of it from the same traffic on."""
        if split != SPLIT:
            raise UserError(
                f"test_split={split}: app={self.name} has no such split; allowed: test, {SPLIT}"
            )
        drivers: dict[str, Callable[[], Driver]] = {"network": lambda: Learned(task.net)}
        drivers |= {"tracker_idm": BASELINES["tracker_idm"]} if baselines else {}
        for name, make in drivers.items():
            theirs, ours = examine(data.highway, make)
            yield f"{name}, highway-env", Evaluation(scores(theirs), theirs)
            yield f"{name}, same in the port", Evaluation(scores(ours), ours)

    def baselines(self, data: DrivingData) -> Iterator[tuple[str, Evaluation]]:
        """Constant speed, random actions, rules on a tracker, and rules that know everything."""
        for name, make in BASELINES.items():
            yield name, _evaluation(data.highway, make)

    def predict(
        self, task: Task, description: Mapping[str, Any], source: Path
    ) -> tuple[pd.DataFrame, str]:
        """Refuse: a file of tracks needs the id of a car."""
        return self.predict_with(task, description, source, {})

    def predict_with(
        self,
        task: Task,
        description: Mapping[str, Any],
        source: Path,
        options: Mapping[str, Any],
    ) -> tuple[pd.DataFrame, str]:
        """What the network would do in the place of a recorded car, decision by decision."""
        if "ego" not in options:
            raise UserError(f"ego: is missing; ego=ID names the car of {source} to shadow")
        file = read_track_file(source, options.get("frame_rate"))
        recording = as_recording(file, options.get("units"))
        reach = Highway.from_dict(dict(description)).sensor.range
        return shadow(recording, str(options["ego"]), task.net, reach)

    def figures(
        self, data: DrivingData, predictions: Mapping[str, pd.DataFrame]
    ) -> Sequence[Figure]:
        """One scenario with several drivers: a strip, and all cars in space and time."""
        return figures(data.highway, predictions)

    def seed_figures(
        self,
        predictions: Mapping[str, Mapping[int, pd.DataFrame]],
        baselines: Mapping[str, pd.DataFrame],
    ) -> Sequence[Figure]:
        """Score against collisions."""
        return seed_figures(predictions, baselines)

    def training_figures(self, data: DrivingData, records: Records) -> Sequence[Figure]:
        """How far the policy moved, step by step."""
        return training_figures(records.steps)

    def seed_tables(
        self,
        predictions: Mapping[str, Mapping[int, pd.DataFrame]],
        baselines: Mapping[str, pd.DataFrame],
    ) -> Sequence[NamedTable]:
        """Differences of scores in the same scenarios, with intervals."""
        return paired_scores(predictions, baselines)

    @property
    def notes(self) -> list[str]:
        """What a reader of the scores must know."""
        return [
            "The score of a drive is 100 times its distance over that at 30 m/s, and 0 after a "
            "collision; every driver has the same scenarios and the same faults of the sensor.",
            "Errors of gaps and speeds are of the cars around that were seen in the last 2 s, each "
            "driver on its own way.",
            "idm_mobil_privileged knows every gap and speed exactly, as no driver can.",
        ]


def _evaluation(highway: Highway, make: Callable[[], Driver]) -> Evaluation:
    """The scores of a driver in both tests."""
    splits: tuple[Split, ...] = ("test", "dense")
    tables = {split: _drive(highway, make(), split) for split in splits}
    dense = scores(tables["dense"])
    found = scores(tables["test"])
    found |= {f"{name}_dense": dense[name] for name in ("score", "collisions")}
    return Evaluation(found, pd.concat(tables.values(), ignore_index=True))


def _drive(highway: Highway, driver: Driver, split: Split) -> pd.DataFrame:
    scenes = highway.scenes(split, range(highway.test))
    return table_of(drive(highway, scenes, driver), highway, split)
