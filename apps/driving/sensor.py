"""What the driver's car sees of the others: gaps alone, with noise, and now and then nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from apps.driving.traffic import DECISION_SECONDS, Flags, Floats

SLOTS = 6  # front and rear on the lane to the left, the own one and the one to the right


@dataclass(frozen=True, slots=True)
class Sensor:
    """A sensor that measures the gap to the next car in each of six directions.

    range: m. noise, relative_noise: the standard deviation of a gap is the first, m, plus the
    second times the gap. occluded: share of the time in which a direction is not seen; such
    occlusions last `burst` seconds in the mean, and come in each direction by itself.

    Raises ValueError for values out of range.
    """

    range: float = 80.0
    noise: float = 0.5
    relative_noise: float = 0.02
    occluded: float = 0.2
    burst: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.range < math.inf:
            raise ValueError(f"range must be a number > 0, got {self.range}")
        if not (0 <= self.noise < math.inf and 0 <= self.relative_noise < math.inf):
            raise ValueError(
                f"noise={self.noise}, relative_noise={self.relative_noise}: must be numbers >= 0"
            )
        if not 0 <= self.occluded < 1:
            raise ValueError(f"occluded must be a share >= 0 and < 1, got {self.occluded}")
        if not self._shortest <= self.burst < math.inf:
            raise ValueError(
                f"burst must be >= {self._shortest:g} s with occluded={self.occluded}, got "
                f"{self.burst}"
            )

    @property
    def _shortest(self) -> float:
        """The burst below which occlusions would have to begin before the last one ends."""
        return DECISION_SECONDS * max(1.0, self.occluded / (1.0 - self.occluded))

    def faults(self, uniforms: Floats) -> Faults:
        """The faults of B scenarios from uniforms (B, T, 6, 3) in [0, 1).

        Occlusions are a Markov chain of two states, noise is made of two uniforms (Box and Muller
        1958).
        """
        ending = DECISION_SECONDS / self.burst
        beginning = self.occluded / (1.0 - self.occluded) * ending
        drawn = uniforms[..., 0]
        hidden = np.empty(drawn.shape, np.bool_)
        hidden[:, 0] = drawn[:, 0] < self.occluded
        for t in range(1, drawn.shape[1]):
            hidden[:, t] = np.where(
                hidden[:, t - 1], drawn[:, t] >= ending, drawn[:, t] < beginning
            )
        radius = np.sqrt(-2.0 * np.log1p(-uniforms[..., 1]))
        return Faults(hidden, radius * np.cos(2.0 * np.pi * uniforms[..., 2]))

    def detect(self, present: Flags, gaps: Floats, hidden: Flags, noise: Floats) -> Detections:
        """What is seen of the cars that are there, all (B, 6)."""
        seen = present & ~hidden
        measured = gaps + noise * (self.noise + self.relative_noise * np.abs(gaps))
        return Detections(seen, np.where(seen, measured, 0.0))


class Faults(NamedTuple):
    """What goes wrong with the detections of B scenarios, (B, T, 6), whoever drives.

    hidden: whether a direction is occluded. noise: of the gap, in standard deviations.
    """

    hidden: Flags
    noise: Floats


class Detections(NamedTuple):
    """Of six directions, (B, 6): whether something is seen, and its gap in m, or 0."""

    seen: Flags
    gaps: Floats
