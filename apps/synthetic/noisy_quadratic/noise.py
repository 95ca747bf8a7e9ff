"""Noise whose variance may be infinite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Kind: TypeAlias = Literal["pareto", "student_t", "stable"]
Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Noise:
    """The problem's noise: independent numbers with a mean of zero and heavy tails.

    kind: `pareto` (one-sided, moved to a mean of zero), `student_t`, or symmetric alpha-`stable`.
    tail_index: P(|noise| > x) falls as x^-tail_index, so that moments below it alone are finite;
        in (1, 2], where a stable law of index 2 is the normal one.
    scale: a factor > 0.

    Raises ValueError for values out of range.
    """

    kind: Kind = "pareto"
    tail_index: float = 1.5
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            allowed = ", ".join(get_args(Kind))
            raise ValueError(f"kind must be one of {allowed}, got {self.kind!r}")
        if not 1 < self.tail_index <= 2:
            raise ValueError(f"tail_index must be > 1 and <= 2, got {self.tail_index}")
        if not 0 < self.scale < np.inf:
            raise ValueError(f"scale must be a finite number > 0, got {self.scale}")

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        """Independent draws of a shape."""
        index = self.tail_index
        if self.kind == "pareto":
            drawn = generator.pareto(index, shape) - 1.0 / (index - 1.0)
        elif self.kind == "student_t":
            drawn = generator.standard_t(index, shape)
        else:
            drawn = stats.levy_stable.rvs(index, 0.0, size=shape, random_state=generator)
        noise: Floats = self.scale * drawn
        return noise
