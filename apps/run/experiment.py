"""What one configuration describes: every object of a run, made once."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import ModelParallelStrategy
from omegaconf import DictConfig
from torch.nn import Module
from torch.optim import SGD, Adagrad, Optimizer

from apps.base.account import Account
from apps.base.application import Application, DataModule
from apps.base.sampler import SharedSampler, TrainLoader
from apps.base.task import Optimization, Task
from apps.cli.instantiate import instantiate
from apps.cli.schema import DataSettings, RunSettings, check
from apps.errors import UserError
from apps.run.folder import RunFolder
from apps.run.start import start_from
from apps.run.stress import check_faults
from apps.run.trainer import make_trainer, num_processes, quieten
from data_scripts.manifest import DataError
from gradclip_core import Clipper
from gradclip_core.lightning import refuse_strategy

# torch 2.13 has fused steps of Adam and AdamW alone for sharded weights.
_WHOLE_WHEN_FUSED = (SGD, Adagrad)


class Experiment:
    """The application, data, task, clipper and callbacks of a configuration.

    Each is made when it is first asked for, and once. Every one of them raises UserError for a
    configuration that cannot work.

    description: of the data, where it is known from an earlier run; they are not read then.
    settings: what the configuration has to hold, and is found to hold before anything is made.
    is_begun: a checkpoint to go on from has the weights; `training.start_from` is not read again.
    """

    def __init__(
        self,
        config: DictConfig,
        description: Mapping[str, Any] | None = None,
        settings: type[DataSettings] = RunSettings,
        *,
        is_begun: bool = False,
    ) -> None:
        check(config, settings)
        quieten()
        self.config = config
        self._description = description
        self._is_begun = is_begun
        self._started = ""

    @cached_property
    def application(self) -> Application:
        """The application that `app` describes."""
        application: Application = instantiate(self.config, "app", Application)
        return application

    @cached_property
    def data(self) -> DataModule:
        """The data, fetched and read."""
        source = instantiate(self.config, "data", self.application.sources)
        data = self.application.datamodule(source, self.config.get("seed", 0))
        try:
            data.prepare_data()
            data.setup("fit")
        except DataError as error:
            raise UserError(str(error)) from error
        return data

    @cached_property
    def _train_loader(self) -> TrainLoader[Any]:
        """The training data in batches, to be asked of and not read: making it takes a while."""
        loader = self.data.train_dataloader()
        if not isinstance(loader, TrainLoader):
            raise TypeError(
                f"{type(self.data).__name__}.train_dataloader must return a TrainLoader of "
                f"apps.base.sampler, after which a killed run can go on; got {loader}"
            )
        return loader

    @property
    def description(self) -> Mapping[str, Any]:
        """What a network has to know about the data."""
        return self.data.description if self._description is None else self._description

    @cached_property
    def task(self) -> Task:
        """The task that is trained, with weights drawn from `seed`."""
        torch.set_num_threads(self.config.num_threads)
        description = self.description
        pl.seed_everything(self.config.seed, workers=True, verbose=False)
        task = self._new_task(description)
        if self._description is None:
            self.application.start(task, self.data)
            self._started = self._start_from(task)
        return task

    def _start_from(self, task: Task) -> str:
        """Begin with the weights of `training.start_from`; in words, "" where there is none."""
        path = self.config.training.get("start_from")
        if path is None or self._is_begun:
            return ""
        return start_from(task, Path(str(path)), self.config.app)

    def best_task(self, folder: RunFolder) -> Task:
        """A task with the weights of a run's best checkpoint."""
        # A fresh one: that which was trained may hold shards alone.
        task = self._new_task(self.description)
        folder.load_weights(task)
        return task

    def _new_task(self, description: Mapping[str, Any]) -> Task:
        optimization = instantiate(
            self.config, "optimization", Optimization, optimizer=self._described_optimizer
        )
        net = instantiate(self.config, "model", Module, **self.application.sizes(description))
        try:
            optimization.make_optimizer(net)
        except (ValueError, TypeError, RuntimeError) as error:
            raise UserError(f"optimizer: {error}") from error
        return self.application.task(net, description, optimization)

    @property
    def keep(self) -> str:
        """Which weights a run keeps: the `best` by validation loss, or the `last`."""
        return str(self.config.training.get("keep", "best"))

    @cached_property
    def _described_optimizer(self) -> Any:
        return instantiate(self.config, "optimizer", Optimizer)

    @cached_property
    def _described_clipper(self) -> Clipper:
        clipper: Clipper = instantiate(self.config, "clipping", Clipper)
        return clipper

    @cached_property
    def clipper(self) -> Clipper:
        """The clipper, which has been found to fit the task and its optimizer."""
        clipper = self._described_clipper
        try:
            clipper.attach(model=self.task, optimizer=self.task.make_optimizer()).detach()
        except ValueError as error:
            raise UserError(f"clipping: {error}") from error
        return clipper

    @cached_property
    def callbacks(self) -> Sequence[pl.Callback]:
        """The callbacks that the configuration names, which can serve the task."""
        callbacks = list(instantiate(self.config, "callbacks", pl.Callback).values())
        check_faults(callbacks, self.task, self.config.app.name)
        return callbacks

    def check(self) -> None:
        """Make all that training needs but the Trainer, so that a mistake shows now."""
        # What needs no data first: a wrong threshold shows before any are read.
        _ = self._described_clipper, self._described_optimizer
        _ = self.task, self.clipper, self.callbacks

    def trainer(self, callbacks: Sequence[pl.Callback], **arguments: Any) -> pl.Trainer:
        """A Trainer with these callbacks, those of the configuration, and these arguments."""
        arguments |= {"callbacks": [*callbacks, *self.callbacks], "max_epochs": self.max_epochs}
        return make_trainer(self.config, **arguments)

    @cached_property
    def max_epochs(self) -> int:
        """As many as are configured, or as `training.min_steps` needs on little data."""
        configured: int = self.config.trainer.max_epochs
        min_steps: int = self.config.training.get("min_steps", 0)
        if not min_steps:
            return configured
        return max(configured, math.ceil(min_steps / self._steps_per_epoch))

    @cached_property
    def _steps_per_epoch(self) -> int:
        batches = len(self._train_loader)
        limit: float = self.config.trainer.get("limit_train_batches", 1.0)
        batches = int(batches * limit) if isinstance(limit, float) else min(batches, limit)
        accumulated: int = self.config.trainer.accumulate_grad_batches
        return math.ceil(max(batches, 1) / accumulated)

    @property
    def account(self) -> Account:
        """What was found in the data, the budget that led to, and the weights to begin with."""
        lines = dict(self.data.account.lines)
        configured = self.config.trainer.max_epochs
        if self.max_epochs != configured:
            lines["budget"] = (
                f"{self.max_epochs} epochs, not {configured}: one has {self._steps_per_epoch} "
                f"steps, and training.min_steps={self.config.training.min_steps}"
            )
        if self._started:
            lines["start"] = self._started
        return Account(lines)

    def check_processes(self, trainer: pl.Trainer) -> None:
        """UserError for what the processes of a Trainer cannot do together."""
        choice = f"trainer={self.config.choices.get('trainer')}"
        try:
            refuse_strategy(trainer, self.clipper)
        except MisconfigurationException as error:
            raise UserError(f"{choice}: {error}") from error
        if isinstance(trainer.strategy, ModelParallelStrategy):
            self._check_shards(choice)
        by_hand = isinstance(
            getattr(trainer.strategy, "cluster_environment", None), LightningEnvironment
        )
        if trainer.num_nodes > 1 and by_hand and "MASTER_ADDR" not in os.environ:
            raise UserError(
                f"trainer.num_nodes={trainer.num_nodes}: nothing says where the others are; start "
                "it by SLURM or torchrun, or set MASTER_ADDR, MASTER_PORT and NODE_RANK on each"
            )
        divides = isinstance(self._train_loader.sampler, SharedSampler)
        if num_processes(trainer) > 1 and not divides:
            raise UserError(
                f"{choice}: trains in several processes, among which app={self.config.app.name} "
                "does not divide its training data; allowed: one device"
            )

    def _check_shards(self, choice: str) -> None:
        if any(isinstance(callback, WeightAveraging) for callback in self.callbacks):
            raise UserError(
                f"{choice}: shards the network, of which averaging keeps a whole copy; leave it "
                "out with '~callbacks.averaging'"
            )
        optimizer = self._described_optimizer
        if optimizer.keywords.get("fused") and optimizer.func in _WHOLE_WHEN_FUSED:
            raise UserError(
                f"optimizer.fused=true: {choice} shards the network, for which torch has no fused "
                f"{optimizer.func.__name__}; take optimizer.fused=false"
            )

    def check_intervals(self, trainer: pl.Trainer) -> None:
        """UserError where the validation loss would never be known."""
        batches, interval = len(self._train_loader), trainer.val_check_interval
        if isinstance(interval, int) and interval > batches and trainer.check_val_every_n_epoch:
            raise UserError(
                f"trainer.val_check_interval={interval}: an epoch has {batches} batches; allowed: "
                f"from 1 to {batches}, or a share of the epoch"
            )

    def logger(self, path: Path) -> Logger | Literal[False]:
        """The logger of a run in a folder; False where there is none."""
        if not self.config.logger:
            return False
        logger: Logger = instantiate(self.config, "logger", Logger, save_dir=str(path))
        return logger
