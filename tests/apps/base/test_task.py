from __future__ import annotations

import functools
import math
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from apps.base.task import Optimization, Task


@pytest.mark.parametrize("num_steps", [1, 2, 3, 9, 10, 11, 50])
@pytest.mark.parametrize("schedule", ["cosine", "onecycle"])
def test_a_schedule_of_any_length_ends_at_nothing(schedule: str, num_steps: int) -> None:
    optimization = Optimization(functools.partial(torch.optim.SGD, lr=0.5), schedule)
    optimizer = optimization.make_optimizer(nn.Linear(2, 1))
    scheduler = optimization.make_schedule(optimizer, num_steps)
    rates = []
    for step in range(num_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step + 1 < num_steps:
            scheduler.step()
    assert all(math.isfinite(rate) and 0 <= rate <= 0.5 for rate in rates)
    if num_steps > 2:
        assert rates[-1] < max(rates)


class Squares(Task):
    """Learns to answer nothing, and keeps its losses."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(1, 1), Optimization(functools.partial(torch.optim.SGD, lr=0.1)))
        self.losses: list[float] = []

    def loss(self, batch: Tensor) -> Tensor:
        found = self.net(batch).square().mean()
        self.losses.append(float(found))
        return found

    def batch_size(self, batch: Any) -> int:
        return len(batch)


class Kept(Logger):
    """A logger that keeps the losses it is given, by step."""

    name, version = "kept", 0

    def __init__(self) -> None:
        super().__init__()
        self.losses: dict[int, float] = {}

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.losses |= {step: metrics["train/loss"]} if "train/loss" in metrics else {}

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass


class EpochEnds(pl.Callback):
    """What a monitor of the training loss sees when an epoch has ended."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seen.append(float(trainer.callback_metrics["train/loss"]))


@pytest.mark.filterwarnings("ignore")  # of Lightning, on few workers and batches
@pytest.mark.parametrize(
    ("every", "due"), [(1, list(range(10))), (3, [2, 5, 8]), (50, []), (0, [])]
)
@pytest.mark.parametrize("accumulated", [1, 2])
def test_loggers_and_monitors_have_the_losses_of_their_steps(
    every: int, due: list[int], accumulated: int, tmp_path: Any
) -> None:
    task, logger, ends = Squares(), Kept(), EpochEnds()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        accumulate_grad_batches=accumulated,
        log_every_n_steps=every,
        logger=logger,
        callbacks=[ends],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    batches = 5 * accumulated
    trainer.fit(task, DataLoader(torch.arange(2.0 * batches)[:, None], batch_size=2))
    last = {step: task.losses[(step + 1) * accumulated - 1] for step in range(10)}
    assert logger.losses == pytest.approx({step: last[step] for step in due})
    assert ends.seen == pytest.approx([last[4], last[9]])
