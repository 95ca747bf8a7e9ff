"""The noise of every step, for many independent replications at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from apps.synthetic.noise_stream import NoiseStream
from apps.synthetic.noisy_quadratic.noise import Noise


class NoiseData(NoiseStream):
    """Noise (R, D) for every step, float32, of R replications in D dimensions.

    shape: replications and dimensions. steps_per_epoch: steps between two validations.
    """

    def __init__(
        self, source: Noise, shape: tuple[int, int], *, steps_per_epoch: int, seed: int
    ) -> None:
        def draw(generator: np.random.Generator) -> Tensor:
            return torch.from_numpy(source.draw(generator, shape)).float()

        replications, dimensions = self.shape = shape
        text = (
            f"noisy quadratic: {replications} independent replications in {dimensions} dimensions; "
            f"noise {source.kind}, tail index {source.tail_index:g}, scale {source.scale:g}"
        )
        super().__init__(text, draw, shape, steps=steps_per_epoch, seed=seed)

    @property
    def description(self) -> dict[str, Any]:
        """The size of the problem."""
        return {"replications": self.shape[0], "dimensions": self.shape[1]}
