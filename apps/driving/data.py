"""Scenarios to learn from, to validate on and to test on."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from apps.base.account import Account
from apps.base.application import DataModule
from apps.base.sampler import ResumableSampler, TrainLoader
from apps.driving.ppo import PPO
from apps.driving.scenarios import DENSE, TEST_DENSITY, Highway


class Turn(NamedTuple):
    """A step of the optimizer: number `step` on the rollout of a number, of a run's seed."""

    seed: int
    rollout: int
    step: int


class Turns(ResumableSampler[Turn]):
    """The steps of an epoch, of which every rollout has as many; no rollout comes twice.

    Epochs end with a rollout, so that a resumed run needs none of those before.
    """

    def __init__(self, rollouts: int, steps: int, seed: int) -> None:
        self.rollouts = rollouts
        self.steps = steps
        self.seed = seed

    def may_be_left_at(self, taken: int) -> bool:
        """Only between two rollouts: another policy would drive another one."""
        return taken % self.steps == 0

    def items(self) -> list[Turn]:
        """The steps, rollout by rollout."""
        first = self.epoch * self.rollouts
        numbers = range(first, first + self.rollouts)
        return [Turn(self.seed, number, step) for number in numbers for step in range(self.steps)]

    def __len__(self) -> int:
        """Number of steps in an epoch."""
        return self.rollouts * self.steps


class _Same(Dataset[Turn]):
    """A batch is the step itself: what is learnt from is driven when its turn has come."""

    def __getitem__(self, turn: Any) -> Turn:
        return Turn(*turn)


class DrivingData(DataModule):
    """Steps of learning, and the scenarios of each split by number.

    rollouts_per_epoch: rollouts between two validations.
    """

    def __init__(
        self, highway: Highway, learning: PPO, *, rollouts_per_epoch: int, seed: int
    ) -> None:
        super().__init__()
        self.highway = highway
        self.learning = learning
        self.rollouts_per_epoch = rollouts_per_epoch
        self.seed = seed
        self.account = Account(_lines(highway, learning))

    @property
    def description(self) -> dict[str, Any]:
        """The road, its traffic and the sensor."""
        return self.highway.as_dict()

    @property
    def fingerprint(self) -> str:
        """A hash of the description: scenarios follow from it and their numbers."""
        return hashlib.sha256(json.dumps(self.description).encode()).hexdigest()[:16]

    def train_dataloader(self) -> DataLoader[Turn]:
        """The steps of an epoch."""
        turns = Turns(self.rollouts_per_epoch, self.learning.steps, self.seed)
        return TrainLoader(_Same(), batch_size=None, sampler=turns)

    def val_dataloader(self) -> DataLoader[Tensor]:
        """The numbers of the validation scenarios as one batch, int64."""
        numbers = torch.arange(self.highway.validation)
        return DataLoader([numbers], batch_size=None)  # type: ignore[arg-type]


def _lines(highway: Highway, learning: PPO) -> dict[str, str]:
    sensor = highway.sensor
    low, high = highway.density
    return {
        "road": f"{highway.lanes} lanes, {highway.vehicles} cars beside the driver's, "
        f"{highway.seconds} s, two decisions a second",
        "sensor": f"the next car in 6 directions up to {sensor.range:g} m; gaps within "
        f"{sensor.noise:g} m + {100 * sensor.relative_noise:g} %, occluded {sensor.occluded:.0%} "
        f"of the time, {sensor.burst:g} s in the mean",
        "training": f"{learning.episodes} new scenarios in a rollout, density {low:g} to {high:g}, "
        f"and {highway.validation} others to validate on",
        "test": f"{highway.test} scenarios at density {TEST_DENSITY[0]} to {TEST_DENSITY[1]}, and "
        f"{highway.test} dense ones at {DENSE[0]} to {DENSE[1]}",
    }
