"""Scenarios by number: the same traffic and the same faults of the sensor for every driver."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from apps.driving.sensor import SLOTS, Faults, Sensor
from apps.driving.traffic import Floats, Road, Traffic, start

Split: TypeAlias = Literal["train", "val", "test", "dense"]
SPLITS: tuple[Split, ...] = ("train", "val", "test", "dense")
TEST_DENSITY, DENSE = (0.8, 1.2), (1.3, 1.6)


class Scenes(NamedTuple):
    """B scenarios: the traffic at first, the sensor's faults, and chance, uniforms (B, T)."""

    traffic: Traffic
    faults: Faults
    chance: Floats


@dataclass(frozen=True, slots=True)
class Highway:
    """A straight road with traffic of random density, and a sensor.

    lanes, vehicles, seconds: of the road and an episode on it. density: from and to, of training
    and validation (test: 0.8 to 1.2, dense test: 1.3 to 1.6; 1 is highway-env's usual one).
    validation, test: number of scenarios to validate on, and of each test.

    Raises ValueError for values out of range.
    """

    lanes: int = 3
    vehicles: int = 20
    seconds: int = 30
    density: Sequence[float] = (0.8, 1.6)
    validation: int = 128
    test: int = 512
    sensor: Sensor = field(default_factory=Sensor)

    def __post_init__(self) -> None:
        if not (2 <= self.lanes <= 8 and 1 <= self.vehicles <= 100 and 1 <= self.seconds <= 600):
            raise ValueError(
                f"lanes={self.lanes}, vehicles={self.vehicles}, seconds={self.seconds}: must be "
                "from 2 to 8, from 1 to 100 and from 1 to 600"
            )
        if len(self.density) != 2 or not 0 < self.density[0] <= self.density[1] < math.inf:
            raise ValueError(f"density must be two rising numbers > 0, got {list(self.density)}")
        if min(self.validation, self.test) < 1:
            raise ValueError(
                f"validation={self.validation}, test={self.test}: must be integers >= 1"
            )

    @property
    def road(self) -> Road:
        """The road and the length of an episode."""
        return Road(self.lanes, self.vehicles, self.seconds)

    def scenes(self, split: Split, numbers: Iterable[int], seed: int = 0) -> Scenes:
        """The scenarios of some numbers of a split; those of `train` depend on the run's seed.

        No two splits share a scenario. What is drawn comes from the bits of PCG64, which NumPy
        promises never to change, so that a number means the same traffic for ever.
        """
        road, cars = self.road, self.vehicles + 1
        sizes = 1 + 4 * cars, road.decisions * SLOTS * 3, road.decisions
        drawn = np.stack([_uniforms((SPLITS.index(split), seed, n), sum(sizes)) for n in numbers])
        of_traffic, of_sensor, chance = np.split(drawn, np.cumsum(sizes)[:-1], axis=1)
        faults = self.sensor.faults(of_sensor.reshape(-1, road.decisions, SLOTS, 3))
        return Scenes(start(road, of_traffic, self.density_of(split)), faults, chance)

    def density_of(self, split: Split) -> tuple[float, float]:
        """The range of densities in a split."""
        if split in ("test", "dense"):
            return TEST_DENSITY if split == "test" else DENSE
        return self.density[0], self.density[1]

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values."""
        sensor = {name: getattr(self.sensor, name) for name in Sensor.__slots__}
        own = {name: getattr(self, name) for name in Highway.__slots__}
        return {**own, "density": [float(end) for end in self.density], "sensor": sensor}

    @staticmethod
    def from_dict(settings: dict[str, Any]) -> Highway:
        """What `as_dict` has described."""
        return Highway(**{**settings, "sensor": Sensor(**settings["sensor"])})


def _uniforms(key: tuple[int, ...], count: int) -> Floats:
    """Numbers in [0, 1) that belong to a key."""
    bits = np.random.PCG64(np.random.SeedSequence(key)).random_raw(count)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
