"""What lets an interrupted run go on as if it had not been."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from torch import Tensor

from apps.run.folder import RunFolder
from apps.run.history import RunHistory


def checkpoints(folder: RunFolder, keep: str) -> list[ModelCheckpoint]:
    """One of the weights that are kept, and one to continue from after every validation.

    Lightning heeds `save_last` only where it writes the kept weights as well.
    """
    place: dict[str, Any] = {"dirpath": folder.checkpoints, "enable_version_counter": False}
    if keep == "last":
        return [ModelCheckpoint(filename=folder.best.stem, save_last=True, **place)]
    kept = ModelCheckpoint(filename=folder.best.stem, monitor="val/loss", **place)
    return [kept, ModelCheckpoint(filename=folder.last.stem, **place)]


class TimedCheckpoint(Checkpoint):
    """Writes the checkpoint to go on from within long epochs too, as many minutes after the last.

    It waits for a step of the optimizer, since gradients that wait for one are not kept, and until
    the training data may be left. As a Checkpoint it is asked after all other callbacks.
    """

    def __init__(self, folder: RunFolder, minutes: float, history: RunHistory) -> None:
        self.path = folder.last
        self.seconds = 60 * minutes
        self.history = history
        self._written = 0.0
        self._steps = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count."""
        self._written, self._steps = time.monotonic(), trainer.global_step

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin anew, as a checkpoint is written now."""
        self._written = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any
    ) -> None:
        """Write the checkpoint when it is time."""
        stepped, self._steps = trainer.global_step > self._steps, trainer.global_step
        loader: Any = trainer.train_dataloader
        if not stepped or trainer.is_last_batch or not loader.may_be_left:
            return
        is_time = time.monotonic() - self._written >= self.seconds
        if trainer.strategy.broadcast(is_time):
            self.history.flush(trainer)
            trainer.save_checkpoint(self.path)
            self._written = time.monotonic()


class DataPosition(pl.Callback):
    """Lets the training data go on after the batch at which a checkpoint was made.

    Lightning keeps the state of loaders, too, but does not load it where a schedule has asked how
    many steps there will be.
    """

    _place: tuple[int, int] | None = None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the epoch, and how many of its batches were given."""
        loader: Any = trainer.train_dataloader
        checkpoint["data_position"] = loader.sampler.epoch, loader.given

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take up what was kept."""
        self._place = checkpoint.get("data_position")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on from there; no batch has been asked for yet."""
        loader: Any = trainer.train_dataloader
        if self._place is not None:
            loader.go_on(*self._place)


class RandomState(pl.Callback):
    """Seeds torch anew at the first batch of every epoch, so that a resumed run draws the same.

    Every process draws differently. Within an epoch the states that a checkpoint holds are taken
    up at the first batch, since Lightning makes the iterators, which draw a number each, at another
    moment after a resume. Batches must not depend on the global state; see `EpochSampler`.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._states: list[list[Tensor]] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed the generators of all devices, or let them go on."""
        rank = trainer.global_rank
        if batch_idx == 0:
            torch.manual_seed(hash((self.seed, trainer.current_epoch, 1 + rank)) % 2**63)
        elif rank < len(self._states):
            cpu, *device = self._states[rank]
            torch.set_rng_state(cpu)
            if device and _uses_cuda():
                torch.cuda.set_rng_state(device[0])
        self._states = []

    def state_dict(self) -> dict[str, Any]:
        """The states of the generators of each process: of the CPU, and of the device it uses."""
        own = [torch.get_rng_state()]
        if _uses_cuda():
            own.append(torch.cuda.get_rng_state())
        states: list[Any] = [own]
        if dist.is_available() and dist.is_initialized():
            states = [None] * dist.get_world_size()
            dist.all_gather_object(states, own)
        return {"states": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._states = state_dict["states"]


def _uses_cuda() -> bool:
    """Whether this process uses a CUDA device; to ask one for its state would take its memory."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
