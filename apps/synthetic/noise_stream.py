"""Noise for every step of a descent on a function that is known."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from apps.base.account import Account
from apps.base.application import DataModule
from apps.synthetic.stream import Draw, stream_loader


class NoiseStream(DataModule):
    """One draw of noise of a shape for each of `steps` steps of an epoch.

    text: all there is to know of it.
    """

    def __init__(
        self, text: str, draw: Draw[Tensor], shape: tuple[int, ...], *, steps: int, seed: int
    ) -> None:
        super().__init__()
        self.account = Account({"data": text})
        self._draw = draw
        self._batch = shape
        self._steps = steps
        self._seed = seed

    @property
    def fingerprint(self) -> str:
        """A hash of the account, which says all there is."""
        return hashlib.sha256(self.account.lines["data"].encode()).hexdigest()[:16]

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Noise for every step."""
        return stream_loader(self._draw, self._seed, self._steps)

    def val_dataloader(self) -> DataLoader[Tensor]:
        """One batch without noise: the function itself is known."""
        return DataLoader([torch.zeros(self._batch)], batch_size=None)  # type: ignore[arg-type]
