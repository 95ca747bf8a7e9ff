"""One training run, from its configuration to its metrics."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import pandas as pd
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from apps.base.application import Application, DataModule, Evaluation
from apps.base.task import Task
from apps.cli.instantiate import instantiate, whole_number
from apps.errors import UserError
from apps.run.folder import RunFolder, code_fingerprint
from apps.run.history import RandomState, RunHistory
from apps.run.stress import check_faults
from apps.run.trainer import check_processes, make_trainer, quieten
from data_scripts.manifest import DataError
from gradclip_core import Clipper, NonFiniteGradientError, SampleError
from gradclip_core.lightning import GradientClipping


@dataclass(frozen=True, slots=True)
class Parts:
    """The objects that a configuration describes."""

    application: Application
    data: DataModule
    task: Task


def build(config: DictConfig) -> Parts:
    """Make the application, its data and its task, with weights drawn from `config.seed`.

    Raises UserError for a configuration that cannot work.
    """
    quieten()
    seed = whole_number(config, "seed", 0, 2**32 - 1)
    whole_number(config, "training.epochs", 1)
    torch.set_num_threads(whole_number(config, "num_threads", 1))
    pl.seed_everything(seed, workers=True, verbose=False)
    application: Application = instantiate(config, "app")
    data = load_data(application, config, seed)
    return Parts(application, data, make_task(application, config, data.description))


def load_data(application: Application, config: DictConfig, seed: int = 0) -> DataModule:
    """Fetch and read the data of a configuration; UserError for data that do not fit."""
    data = application.datamodule(instantiate(config, "data"), seed)
    try:
        data.prepare_data()
        data.setup("fit")
    except DataError as error:
        raise UserError(str(error)) from error
    return data


def make_task(application: Application, config: DictConfig, description: Mapping[str, Any]) -> Task:
    """The network and its task for data of a description."""
    optimization = instantiate(config, "optimization", optimizer=instantiate(config, "optimizer"))
    net = instantiate(config, "model", **application.sizes(description))
    try:
        optimization.make_optimizer(net)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"optimizer: {error}") from error
    return application.task(net, description, optimization)


def make_clipper(config: DictConfig, task: Task) -> Clipper:
    """The clipper of a configuration; UserError if it cannot serve the task and its optimizer."""
    clipper: Clipper = instantiate(config, "clipping")
    try:
        clipper.attach(model=task, optimizer=task.make_optimizer()).detach()
    except ValueError as error:
        raise UserError(f"clipping: {error}") from error
    return clipper


def train(
    config: DictConfig, path: Path, parts: Parts, *, resume: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Train once, keep the best checkpoint, score it on the test split; return the run's metrics.

    parts: what `build` has just made of the configuration. Nothing is written before the whole
    configuration has been checked. Of several processes that train together only the first
    writes, scores and returns; the others end here.
    """
    if quiet:  # the comparison has said it
        warnings.filterwarnings("ignore", module=r"gradclip_core\.")
    clipper = make_clipper(config, parts.task)
    callbacks = list(instantiate(config, "callbacks").values())
    check_faults(callbacks, parts.task, config.app.name)
    trainer = make_trainer(config, logger=False, enable_checkpointing=False)
    check_processes(trainer, config, parts.data, clipper, callbacks)
    folder = RunFolder(path)
    if resume:
        RunFolder.open(path, "resume").check_resumable(parts.task)
    logger: Logger | Literal[False] = False
    if config.logger:
        logger = instantiate(config, "logger", save_dir=str(path))
    if not trainer.is_global_zero:
        return _train(config, folder, parts, clipper, callbacks, logger, resume, quiet)
    if not resume:
        folder.refuse_others()
    with folder.claim():
        if not resume:
            RunFolder.create(path, config, parts.data.description)
        return _train(config, folder, parts, clipper, callbacks, logger, resume, quiet)


def _train(
    config: DictConfig,
    folder: RunFolder,
    parts: Parts,
    clipper: Clipper,
    callbacks: list[pl.Callback],
    logger: Logger | Literal[False],
    resume: bool,
    quiet: bool,
) -> dict[str, Any]:
    """Train and score in a folder that is ready."""
    if logger:
        plain: Any = OmegaConf.to_container(config, resolve=True)
        logger.log_hyperparams(plain)
    record = RunHistory(folder, quiet=quiet)
    trainer = make_trainer(
        config,
        callbacks=[
            GradientClipping(
                clipper,
                log_prefix="grad/" if logger else None,  # logging takes longer than a small step
                on_report=record.on_report,
            ),
            record,
            RandomState(config.seed),
            *callbacks,
            _checkpoints(folder),
        ],
        logger=logger,
    )
    started = time.monotonic()
    error = _fit(trainer, parts, str(folder.last) if resume else None, record)
    if not trainer.is_global_zero:
        raise SystemExit
    if record.is_worse:
        error = "the validation loss ended above that of the untrained network"
    elif error is None and record.diverged_at is not None:
        steps = pd.read_csv(folder.steps)
        error = parts.application.explain(parts.data, steps, record.diverged_at)
    evaluation = evaluate(config, parts, folder)
    metrics = _summary(config, record, error, evaluation, time.monotonic() - started)
    if evaluation and evaluation.fitted:
        folder.describe(parts.data.description | evaluation.fitted)
    folder.finish(metrics, evaluation.predictions if evaluation else None)
    if logger:
        _log_scores(logger, metrics)
    return metrics


def _log_scores(logger: Logger, metrics: dict[str, Any]) -> None:
    """Hand a logger the scores, and the share of steps clipped."""
    found = {f"test/{name}": value for name, value in metrics["test"].items()}
    found["clip_rate"] = metrics["clip_rate"]
    known = {name: value for name, value in found.items() if value is not None}
    logger.log_metrics(known, step=metrics["steps"])
    logger.finalize("success")


def _checkpoints(folder: RunFolder) -> ModelCheckpoint:
    return ModelCheckpoint(
        dirpath=folder.checkpoints,
        filename=folder.best.stem,
        monitor="val/loss",
        save_last=True,
        enable_version_counter=False,
    )


def fit(trainer: pl.Trainer, parts: Parts, checkpoint: str | None = None) -> None:
    """Train; an interrupt is raised as the KeyboardInterrupt that it is."""
    try:
        trainer.fit(parts.task, parts.data, ckpt_path=checkpoint)
    except SystemExit as end:
        # Lightning answers an interrupt by leaving the process with code 1.
        if isinstance(end.__context__, KeyboardInterrupt) and trainer.is_global_zero:
            raise KeyboardInterrupt from None
        raise
    except (MisconfigurationException, SampleError) as error:
        raise UserError(f"clipping: {error}") from error


def _fit(
    trainer: pl.Trainer, parts: Parts, checkpoint: str | None, record: RunHistory
) -> str | None:
    """Train; a guard that gives up is a result, returned as its message."""
    try:
        fit(trainer, parts, checkpoint)
    except NonFiniteGradientError as error:
        record.diverged_at = trainer.global_step
        return str(error)
    return None


def evaluate(config: DictConfig, parts: Parts, folder: RunFolder) -> Evaluation | None:
    """The best checkpoint's score; None where a run diverged before it had one."""
    if not folder.best.is_file():
        return None
    return parts.application.evaluate(best_task(config, parts, folder), parts.data)


def best_task(config: DictConfig, parts: Parts, folder: RunFolder) -> Task:
    """A task with the weights of the best checkpoint."""
    # A fresh one: that which was trained may hold shards alone.
    task = make_task(parts.application, config, parts.data.description)
    folder.load_weights(task)
    return task


def _summary(
    config: DictConfig,
    record: RunHistory,
    error: str | None,
    evaluation: Evaluation | None,
    seconds: float,
) -> dict[str, Any]:
    test = evaluation.metrics if evaluation else {}
    return {
        "app": config.app.name,
        "clipping": config.choices.clipping,
        "optimizer": config.choices.optimizer,
        "lr": config.optimizer.lr,
        "seed": config.seed,
        "status": "completed" if record.diverged_at is None else "diverged",
        "diverged_at": record.diverged_at,
        "error": error,
        "val_loss": record.best_val_loss,
        "test": {name: value if math.isfinite(value) else None for name, value in test.items()},
        "steps": record.num_steps,
        "clip_rate": record.clip_rate,
        "skipped": record.num_skipped,
        "seconds": round(seconds, 2),
        "code": code_fingerprint(),
    }


def read_predictions(folder: RunFolder) -> pd.DataFrame | None:
    """The forecasts of a finished run; None where it made none."""
    return pd.read_parquet(folder.predictions) if folder.predictions.is_file() else None
