"""The noise of every step, for many independent replications at once."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from apps.base.account import Account
from apps.base.application import DataModule
from apps.synthetic.noisy_quadratic.noise import Noise
from apps.synthetic.stream import stream_loader


class NoiseData(DataModule):
    """One draw of noise for every step, replication and dimension.

    shape: replications and dimensions. steps_per_epoch: steps between two validations.
    """

    def __init__(
        self, source: Noise, shape: tuple[int, int], *, steps_per_epoch: int, seed: int
    ) -> None:
        super().__init__()
        self.source = source
        self.shape = shape
        self.steps_per_epoch = steps_per_epoch
        self.seed = seed
        replications, dimensions = shape
        text = (
            f"noisy quadratic: {replications} independent replications in {dimensions} dimensions; "
            f"noise {source.kind}, tail index {source.tail_index:g}, scale {source.scale:g}"
        )
        self.account = Account({"data": text})

    @property
    def description(self) -> dict[str, Any]:
        """The size of the problem."""
        return {"replications": self.shape[0], "dimensions": self.shape[1]}

    @property
    def fingerprint(self) -> str:
        """A hash of the account, which says all there is."""
        return hashlib.sha256(self.account.lines["data"].encode()).hexdigest()[:16]

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Noise (R, D) for every step, float32."""

        def draw(generator: np.random.Generator) -> Tensor:
            return torch.from_numpy(self.source.draw(generator, self.shape)).float()

        return stream_loader(draw, self.seed, self.steps_per_epoch)

    def val_dataloader(self) -> DataLoader[Tensor]:
        """One batch without noise: the function itself is known."""
        return DataLoader([torch.zeros(self.shape)], batch_size=None)  # type: ignore[arg-type]
