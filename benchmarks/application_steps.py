"""Whole training steps of the applications, on batches of their default configurations."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from hydra import initialize_config_dir
from torch import nn

from apps import CONF
from apps.cli.compose import compose_run
from apps.run.experiment import Experiment
from benchmarks.optimizer_steps import clock
from gradclip_core import ClipNorm

APPS = ("energy", "finance", "sentiment", "speech")
BATCHES = 8
MAX_NORM = 1.0  # of clipping=global_norm, the default


@dataclass(frozen=True, slots=True)
class Steps:
    """Of one way to clip: median seconds of a step, ratio to no clipping, share of it to clip."""

    app: str
    contender: str
    seconds: float
    low: float
    median: float
    high: float
    share: float


class Training:
    """A copy of a task that trains in one way, batch by batch."""

    def __init__(self, task: Any, clip: Callable[[Any], Callable[[nn.Module], object] | None]):
        self.task = copy.deepcopy(task).train()
        self.optimizer = self.task.make_optimizer()
        self.clip = clip(self.optimizer)

    def step(self, batch: Any, device: str) -> tuple[float, float]:
        """Seconds of the whole step, and of clipping in it."""
        start = clock(device)
        self.optimizer.zero_grad()
        self.task.loss(batch).backward()
        before = clock(device)
        if self.clip is not None:
            self.clip(self.task)
        after = clock(device)
        self.optimizer.step()
        return clock(device) - start, after - before


def application_rows(apps: list[str], device: str, rounds: float) -> list[Steps]:
    """For every application: no clipping, torch's and ours, in random order on each batch."""
    return [row for app in apps for row in _steps(app, device, max(10, round(40 * rounds)))]


def _steps(app: str, device: str, number: int) -> list[Steps]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose_run(app, [f"app={app}"])
    experiment = Experiment(config)
    task = experiment.task.to(device)
    batches = list(islice(experiment.data.train_dataloader(), BATCHES))
    batches = [task.transfer_batch_to_device(batch, torch.device(device), 0) for batch in batches]
    ways = {
        "no clipping": Training(task, lambda _: None),
        "no clipping again": Training(task, lambda _: None),
        "`clip_grad_norm_`": Training(task, lambda _: _torchs),
        "ours": Training(task, _ours),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for batch in islice(cycle(batches), number + 2):
        for name, training in random.sample(list(ways.items()), len(ways)):
            times[name].append(training.step(batch, device))
    return [_row(app, name, times) for name in ways]


def _torchs(task: nn.Module) -> object:
    return nn.utils.clip_grad_norm_(task.parameters(), MAX_NORM)


def _ours(optimizer: torch.optim.Optimizer) -> Callable[[nn.Module], object]:
    clipper = ClipNorm(MAX_NORM)
    clipper.fold_into(optimizer)
    return clipper


def _row(app: str, name: str, times: dict[str, list[tuple[float, float]]]) -> Steps:
    whole, clip = np.asarray(times[name][2:]).T
    ratios = whole / np.asarray(times["no clipping"][2:])[:, 0]
    points = np.quantile(ratios, (0.25, 0.5, 0.75)).tolist()
    return Steps(app, name, float(np.median(whole)), *points, float(np.median(clip / whole)))
