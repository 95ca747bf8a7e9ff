"""What a training run leaves behind about itself, step by step."""

from __future__ import annotations

import csv
import math
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from apps.errors import UserError
from apps.run.folder import RunFolder
from data_scripts.files import write_text
from gradclip_core import ClipReport
from gradclip_core.parts.sharding import joint_mean

EPOCH_FIELDS = ("epoch", "step", "train_loss", "val_loss")
STEP_FIELDS = (
    "step",
    "epoch",
    "loss",
    "lr",
    "norm",
    "clipped_norm",
    "coefficient",
    "threshold",
    "clipped",
    "skipped",
    "clip_rate",
    "worst_parameter",
    "path",
)


class RunHistory(pl.Callback):
    """Writes `steps.csv` and `epochs.csv`, stops a run that diverged, and tells of progress.

    A run has diverged when its training loss is not finite, when its forecasts are dead at the
    end (see `Task.alive`), or when it ends with a validation loss that is not finite or above
    that of the untrained network (unless the task `may_stall`; see also its
    `divergence_ratio`). Values are read from the
    device every `flush_every` steps. The files are cut back to the checkpoint on resume.

    Of several processes the first writes and tells; losses are those of their joint batch.
    """

    def __init__(self, folder: RunFolder, *, flush_every: int = 50, quiet: bool = False) -> None:
        self.folder = folder
        self.flush_every = flush_every
        self.quiet = quiet
        self.diverged_at: int | None = None
        self.is_worse = False  # than untrained, by the validation loss at the end
        self.num_steps = 0
        self.num_clipped = 0
        self.num_skipped = 0
        self._dead_since: int | None = None
        self._epochs: list[dict[str, float]] = []
        self._pending: list[tuple[dict[str, Any], Tensor, ClipReport]] = []
        self._losses: list[Tensor] = []
        self._where: dict[str, Any] = {}
        self._train_losses: list[float] = []
        self._started = time.monotonic()
        self._fields = STEP_FIELDS
        self._is_first = True
        self._is_open = False

    def on_report(self, step: int, index: int, report: ClipReport) -> None:
        """Take in the report of one clip; hand this to `GradientClipping`."""
        loss = joint_mean(torch.stack(self._losses).mean())
        self._pending.append(({"step": step}, loss, report))
        self._losses.clear()

    def on_sanity_check_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the files: no hook before this one sees the state of a sharded checkpoint."""
        self._open(trainer, pl_module)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the files, if there was no validation before."""
        self._open(trainer, pl_module)

    def _open(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the files, or cut those of an interrupted run back to its checkpoint."""
        if self._is_open:
            return
        self._is_open, self._is_first = True, trainer.is_global_zero
        self._fields = (*STEP_FIELDS, *getattr(pl_module, "measures", ()))
        self._cut(self.folder.steps, self._fields, self.num_steps)
        self._cut(self.folder.epochs, EPOCH_FIELDS, len(self._epochs))
        if self.diverged_at is not None:
            trainer.should_stop = True  # it would not have gone on without the interruption

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        """Keep the loss of the batch; a step's row has the mean over its batches."""
        # Lightning has divided the loss by the number of batches it accumulates, and scaled it
        # where gradients are in fp16.
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        factor = trainer.accumulate_grad_batches / (scaler.get_scale() if scaler else 1.0)
        self._losses.append(loss.detach() * factor)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Keep what the row of this step says beside its clip, which may come after the step."""
        alive: Tensor | None = getattr(pl_module, "alive", None)
        self._where = {
            "epoch": trainer.current_epoch + 1,
            "lr": optimizer.param_groups[0]["lr"],
            "alive": None if alive is None else joint_mean(alive.float()) > 0,
            **getattr(pl_module, "measured", {}),
        }

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any
    ) -> None:
        """Complete the row of the step, if there was one; now and then write the rows out."""
        self._complete()
        if len(self._pending) >= self.flush_every:
            self.flush(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the epoch's row."""
        self.flush(trainer)
        losses, self._train_losses = self._train_losses, []
        row = {
            "epoch": 0 if trainer.sanity_checking else trainer.current_epoch + 1,
            "step": trainer.global_step,
            "train_loss": sum(losses) / len(losses) if losses else math.nan,
            "val_loss": float(trainer.callback_metrics.get("val/loss", math.nan)),
        }
        if trainer.sanity_checking and self._epochs:
            return  # a resumed run has this row already
        self._epochs.append(row)
        self._append(self.folder.epochs, EPOCH_FIELDS, [row])
        if self._is_first and not self.quiet:
            self._tell(trainer, row)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Write the steps that were made before training broke off."""
        self._complete()
        self.flush(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write what is left and judge whether the run diverged."""
        self.flush(trainer)
        if self.diverged_at is None:
            self.diverged_at = self._dead_since
        may_stall = getattr(pl_module, "may_stall", False)
        if self.diverged_at is None and len(self._epochs) > 1 and not may_stall:
            ratio = getattr(pl_module, "divergence_ratio", 1.0)
            limit, last = ratio * self._epochs[0]["val_loss"], self._epochs[-1]["val_loss"]
            if not last <= limit:
                above = [row["step"] for row in self._epochs if not row["val_loss"] <= limit]
                self.diverged_at, self.is_worse = int(above[0]), True

    def kept_val_loss(self, keep: str) -> float | None:
        """The validation loss of the weights kept, the `best` or the `last`; None if not finite."""
        losses = [row["val_loss"] for row in self._epochs[1:]]
        considered = losses[-1:] if keep == "last" else losses
        return min((loss for loss in considered if math.isfinite(loss)), default=None)

    @property
    def is_falling(self) -> bool:
        """Whether training ended too early: the validation loss still fell at its end.

        The last quarter of the epochs brought more than a twentieth of the whole fall.
        """
        losses = [row["val_loss"] for row in self._epochs]
        if len(losses) < 3 or not all(map(math.isfinite, losses)):
            return False
        before = min(losses[: len(losses) - math.ceil((len(losses) - 1) / 4)])
        fall = losses[0] - losses[-1]
        return fall > 0 and losses[-1] == min(losses) and before - losses[-1] > fall / 20

    @property
    def clip_rate(self) -> float:
        """Share of the steps in which something was clipped."""
        return self.num_clipped / max(self.num_steps, 1)

    def _complete(self) -> None:
        if self._pending:
            self._pending[-1][0].update({**self._where, **self._pending[-1][0]})

    def flush(self, trainer: pl.Trainer) -> None:
        """Write the rows of the steps that were made since."""
        rows = []
        for row, loss, report in self._pending:
            values = report.as_dict()
            row["loss"] = float(loss)
            row.update({k: float(v) for k, v in row.items() if isinstance(v, Tensor)})
            rows.append({name: {**values, **row}.get(name) for name in self._fields})
            self._train_losses.append(row["loss"])
            self.num_clipped += bool(values["clipped"])
            self.num_skipped += bool(values["skipped"])
            if row["alive"] is None or bool(row["alive"]):
                self._dead_since = None
            elif self._dead_since is None:
                self._dead_since = row["step"]
            if self.diverged_at is None and not math.isfinite(row["loss"]):
                self.diverged_at = row["step"]
                trainer.should_stop = True
        self._pending.clear()
        self.num_steps += len(rows)
        self._append(self.folder.steps, self._fields, rows)

    def _tell(self, trainer: pl.Trainer, row: dict[str, float]) -> None:
        elapsed = time.monotonic() - self._started
        train = "untrained" if trainer.sanity_checking else f"train {row['train_loss']:.4f}"
        print(
            f"epoch {row['epoch']:>3}/{trainer.max_epochs}  step {row['step']:>5}  "
            f"{train}  val {row['val_loss']:.4f}  "
            f"clipped {self.clip_rate:.0%}  {elapsed:.0f} s",
            flush=True,
        )

    def state_dict(self) -> dict[str, Any]:
        """How far the files go, and the counts so far."""
        return {
            "num_steps": self.num_steps,
            "num_clipped": self.num_clipped,
            "num_skipped": self.num_skipped,
            "diverged_at": self.diverged_at,
            "dead_since": self._dead_since,
            "epochs": self._epochs,
            "train_losses": self._train_losses,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.num_steps = state_dict["num_steps"]
        self.num_clipped = state_dict["num_clipped"]
        self.num_skipped = state_dict["num_skipped"]
        self.diverged_at = state_dict["diverged_at"]
        self._dead_since = state_dict["dead_since"]
        self._epochs = list(state_dict["epochs"])
        self._train_losses = list(state_dict.get("train_losses", []))  # of an epoch that goes on

    def _cut(self, path: Path, fields: tuple[str, ...], rows: int) -> None:
        if not self._is_first:
            return
        lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
        if len(lines) < rows + 1 and rows:
            raise UserError(
                f"{path}: has {max(len(lines) - 1, 0)} of the {rows} rows that the checkpoint was "
                "made after; restore the file, or train anew in another folder"
            )
        header = ",".join(fields) + "\n"
        write_text(path, "".join([header, *lines[1 : rows + 1]]))

    def _append(self, path: Path, fields: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
        if not self._is_first:
            return
        with path.open("a", newline="") as file:
            csv.DictWriter(file, fields, lineterminator="\n").writerows(rows)
