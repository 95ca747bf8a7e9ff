"""One training: fit, keep the best checkpoint, score it."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pandas as pd
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from omegaconf import OmegaConf

from apps.base.application import Evaluation
from apps.errors import UserError
from apps.run.experiment import Experiment
from apps.run.folder import RunFolder, code_fingerprint
from apps.run.history import RunHistory
from apps.run.resuming import DataPosition, RandomState, TimedCheckpoint, checkpoints
from gradclip_core import NonFiniteGradientError, SampleError
from gradclip_core.lightning import GradientClipping


def train(
    experiment: Experiment, path: Path, *, resume: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Train once, keep the best checkpoint, score it on the test split; return the run's metrics.

    resume: the folder holds this very run, which goes on from its last checkpoint, starts anew
    where it has none, and is left alone where it has ended. Nothing is written before the whole
    configuration has been checked. Of several processes that train together only the first writes,
    scores and returns; the others end here.
    """
    if quiet:  # the comparison has said it
        warnings.filterwarnings("ignore", module=r"gradclip_core\.")
    experiment.check()
    folder = RunFolder(path)
    history = RunHistory(folder, quiet=quiet)
    logger = experiment.logger(path)
    clipping = GradientClipping(
        experiment.clipper,
        log_prefix="grad/" if logger else None,  # logging takes longer than a small step
        on_report=history.on_report,
    )
    callbacks = [clipping, history, DataPosition(), RandomState(experiment.config.seed)]
    callbacks += checkpoints(folder, experiment.keep)
    if minutes := experiment.config.get("checkpoint_minutes"):
        callbacks.append(TimedCheckpoint(folder, minutes, history))
    trainer = experiment.trainer(callbacks, logger=logger)
    experiment.check_processes(trainer)
    experiment.check_intervals(trainer)
    if not trainer.is_global_zero:
        _fit(trainer, experiment, history, folder, resume=resume and folder.last.is_file())
        raise SystemExit
    with claimed(folder, experiment, resume=resume) as ended:
        if ended is not None:
            return ended
        if not quiet:
            print(f"{experiment.account}\n", flush=True)
        begun = folder.last.is_file()
        if begun:
            folder.check_resumable(experiment.task)
        return _fit_and_score(trainer, experiment, history, folder, resume=begun)


@contextmanager
def claimed(
    folder: RunFolder, experiment: Experiment, *, resume: bool
) -> Iterator[dict[str, Any] | None]:
    """Work in a run's folder alone: its metrics where it has ended, else None.

    resume: the folder is known to hold this very run. One that was killed before it had anything
    to continue from starts anew. Raises UserError for a folder that holds something else.
    """
    if not resume:
        folder.refuse_others()
    with folder.claim():
        if not resume:
            folder.refuse_others()  # or did somebody begin meanwhile?
        folder.remove_leftovers()
        ended = folder.metrics() if resume else None
        if ended is None and not folder.begun:
            folder.clear()
            account = str(experiment.account)
            RunFolder.create(folder.path, experiment.config, experiment.description, account)
        yield ended


def _fit_and_score(
    trainer: pl.Trainer,
    experiment: Experiment,
    history: RunHistory,
    folder: RunFolder,
    *,
    resume: bool,
) -> dict[str, Any]:
    """Train and score in a folder that is ready."""
    logger = trainer.logger
    if logger:
        plain: Any = OmegaConf.to_container(experiment.config, resolve=True)
        logger.log_hyperparams(plain)
    started = time.monotonic()
    error = _fit(trainer, experiment, history, folder, resume=resume)
    if history.is_worse:
        error = "the validation loss ended above that of the untrained network"
    elif error is None and history.diverged_at is not None:
        steps = pd.read_csv(folder.steps)
        error = experiment.application.explain(experiment.data, steps, history.diverged_at)
    evaluation = evaluate(experiment, folder)
    metrics = _summary(experiment, history, error, evaluation, time.monotonic() - started)
    if evaluation and evaluation.fitted:
        folder.describe({**experiment.description, **evaluation.fitted})
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


def fit(trainer: pl.Trainer, experiment: Experiment, checkpoint: Path | None = None) -> None:
    """Train; an interrupt is raised as the KeyboardInterrupt that it is."""
    try:
        trainer.fit(experiment.task, experiment.data, ckpt_path=checkpoint and str(checkpoint))
    except SystemExit as end:
        # Lightning answers an interrupt by leaving the process with code 1.
        if isinstance(end.__context__, KeyboardInterrupt) and trainer.is_global_zero:
            raise KeyboardInterrupt from None
        raise
    except (MisconfigurationException, SampleError) as error:
        raise UserError(f"clipping: {error}") from error


def _fit(
    trainer: pl.Trainer,
    experiment: Experiment,
    history: RunHistory,
    folder: RunFolder,
    *,
    resume: bool,
) -> str | None:
    """Train; a guard that gives up is a result, returned as its message."""
    try:
        fit(trainer, experiment, folder.last if resume else None)
    except NonFiniteGradientError as error:
        history.diverged_at = trainer.global_step
        return str(error)
    return None


def evaluate(experiment: Experiment, folder: RunFolder) -> Evaluation | None:
    """The best checkpoint's score; None where a run diverged before it had one."""
    if not folder.best.is_file():
        return None
    return experiment.application.evaluate(experiment.best_task(folder), experiment.data)


def _summary(
    experiment: Experiment,
    history: RunHistory,
    error: str | None,
    evaluation: Evaluation | None,
    seconds: float,
) -> dict[str, Any]:
    config = experiment.config
    test = evaluation.metrics if evaluation else {}
    return {
        "app": config.app.name,
        "clipping": config.choices.clipping,
        "optimizer": config.choices.optimizer,
        "lr": config.optimizer.lr,
        "seed": config.seed,
        "status": "completed" if history.diverged_at is None else "diverged",
        "diverged_at": history.diverged_at,
        "error": error,
        "val_loss": history.kept_val_loss(experiment.keep),
        "test": {name: value if math.isfinite(value) else None for name, value in test.items()},
        "steps": history.num_steps,
        "clip_rate": history.clip_rate,
        "skipped": history.num_skipped,
        "falling": history.is_falling,
        "seconds": round(seconds, 2),
        "code": code_fingerprint(),
    }
