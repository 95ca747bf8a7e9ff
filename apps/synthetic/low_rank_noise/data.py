"""Noise of rank one for every step, for many matrices at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from apps.synthetic.noise_stream import NoiseStream


@dataclass(frozen=True, slots=True)
class RankOne:
    """Noise z u v^T of each matrix, and a little normal noise in all directions.

    u and v are random unit vectors, z has a symmetric Pareto law.

    tail_index: P(|z| > x) falls as x^-tail_index; in (1, 2].
    floor: deviation of the normal noise, over the root of the side; >= 0.

    Raises ValueError for values out of range.
    """

    tail_index: float = 1.5
    floor: float = 0.2

    def __post_init__(self) -> None:
        if not 1 < self.tail_index <= 2:
            raise ValueError(f"tail_index must be > 1 and <= 2, got {self.tail_index}")
        if not 0 <= self.floor < math.inf:
            raise ValueError(f"floor must be a finite number >= 0, got {self.floor}")

    def draw(self, generator: np.random.Generator, count: int, side: int) -> Tensor:
        """Noise (count, side, side), float32."""
        size = generator.pareto(self.tail_index, count) * generator.choice((-1.0, 1.0), count)
        left, right = generator.standard_normal((2, count, side))
        left *= (size / np.linalg.norm(left, axis=1))[:, None]
        right /= np.linalg.norm(right, axis=1, keepdims=True)
        spread = generator.standard_normal((count, side, side)) * self.floor / math.sqrt(side)
        return torch.from_numpy(left[:, :, None] * right[:, None, :] + spread).float()


class RankOneData(NoiseStream):
    """Noise (R, D, D) for each of `steps` steps.

    shape: number of matrices, and their side.
    """

    def __init__(self, source: RankOne, shape: tuple[int, int], *, steps: int, seed: int) -> None:
        def draw(generator: np.random.Generator) -> Tensor:
            return source.draw(generator, *shape)

        count, side = self.shape = shape
        text = (
            f"low-rank noise: {count} matrices of {side} x {side}, noise of rank one with tail "
            f"index {source.tail_index:g}, normal noise of {source.floor:g} in all directions"
        )
        super().__init__(text, draw, (count, side, side), steps=steps, seed=seed)

    @property
    def description(self) -> dict[str, Any]:
        """The size of the problem."""
        return {"matrices": self.shape[0], "side": self.shape[1]}
