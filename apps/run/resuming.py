"""What lets an interrupted run go on as if it had not been."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from apps.run.folder import RunFolder


def checkpoints(folder: RunFolder, keep: str) -> list[ModelCheckpoint]:
    """One of the weights that are kept, and one to continue from after every validation.

    Lightning heeds `save_last` only where it writes the kept weights as well.
    """
    place: dict[str, Any] = {"dirpath": folder.checkpoints, "enable_version_counter": False}
    if keep == "last":
        return [ModelCheckpoint(filename=folder.best.stem, save_last=True, **place)]
    kept = ModelCheckpoint(filename=folder.best.stem, monitor="val/loss", **place)
    return [kept, ModelCheckpoint(filename=folder.last.stem, **place)]


class RandomState(pl.Callback):
    """Seeds torch anew at the first batch of every epoch, so that a resumed run draws the same.

    Every process draws differently.

    A state kept in the checkpoint would not do: after a resume Lightning makes the iterators,
    which draw a number each, at another moment. Batches must not depend on the global state;
    see `EpochSampler`.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed the generators of all devices."""
        if batch_idx == 0:
            draw = self.seed, trainer.current_epoch, 1 + trainer.global_rank
            torch.manual_seed(hash(draw) % 2**63)
