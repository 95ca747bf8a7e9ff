"""The logarithm of a load, in which regressions are fitted wherever it makes sense."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from apps.energy.forecast import Floats
from apps.energy.series import Series

# Below this share of the median a load comes so near to zero that ratios mean little.
SMALLEST_SHARE = 0.05
LARGEST = 300.0  # the square of its exponential is a float64, too


@dataclass(frozen=True, slots=True)
class Logarithm:
    """log(max(target, floor)), or with `floor` None the target itself.

    Weather, habits and growth change a load by shares of it, so that effects add up in its
    logarithm (Hyndman and Athanasopoulos, "Forecasting: Principles and Practice", 3.1).
    """

    floor: float | None

    @classmethod
    def fit(cls, training: Floats) -> Self:
        """The logarithm where all training targets are well above zero, else the identity.

        Later targets below half the smallest one of training count as that half.
        """
        smallest = float(training.min())
        if smallest > 0 and smallest >= SMALLEST_SHARE * float(np.median(training)):
            return cls(smallest / 2)
        return cls(None)

    def forward(self, values: Floats) -> Floats:
        """Targets in the unit of the data to what is regressed; NaN stays NaN."""
        return values if self.floor is None else np.log(np.maximum(values, self.floor))

    def inverse(self, values: NDArray[Any]) -> NDArray[Any]:
        """The inverse of `forward`; what a broken network says stays a finite number."""
        return values if self.floor is None else np.exp(np.minimum(values, LARGEST))

    def apply(self, series: Series) -> Series:
        """The series with its target regressed."""
        target = self.forward(series.frame["target"].to_numpy(np.float64))
        return replace(series, frame=series.frame.assign(target=target))


UNCHANGED = Logarithm(None)


def training_targets(series: Series) -> Floats:
    """The targets before validation, (n,)."""
    targets: Floats = series.frame["target"].to_numpy(np.float64)
    training: Floats = targets[np.asarray(series.frame.index < series.val_start)]
    return training
