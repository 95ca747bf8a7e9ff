"""Training a run: once, or fold after fold where its application wants several trainings.

A run of folds holds a whole run in `folds/0`, `folds/1`, ... for each of them. Its own `steps.csv`
and `epochs.csv` are theirs one after the other, and its score is that of all their forecasts
together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from apps.base.application import Evaluation
from apps.run.experiment import Experiment
from apps.run.folder import RunFolder
from apps.run.job import leave_job
from apps.run.trainer import bare_trainer, refuse_processes
from apps.run.training import claimed, evaluate, train
from data_scripts.files import replacing


def train_run(
    experiment: Experiment, path: Path, *, resume: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Train, score on the test split and return the run's metrics; see `training.train`."""
    experiment.check()
    folds = fold_experiments(experiment)
    if not folds:
        return train(experiment, path, resume=resume, quiet=quiet)
    config = experiment.config
    refuse_processes(bare_trainer(config), config, "a run of several folds trains")
    leave_job()
    folder = RunFolder(path)
    with claimed(folder, experiment, resume=resume) as ended:
        return ended or _train_folds(experiment, folder, folds, quiet=quiet)


def _train_folds(
    experiment: Experiment, folder: RunFolder, folds: Sequence[Experiment], *, quiet: bool
) -> dict[str, Any]:
    """Train all folds in a folder that is ready, and score them together."""
    metrics = []
    for number, fold in enumerate(folds):
        metrics.append(_train_fold(fold, folder.fold(number), quiet=quiet))
        if not quiet:
            print(f"fold {number + 1} of {len(folds)}: {metrics[-1]['status']}", flush=True)
    _join(folder, metrics)
    evaluation = evaluate_run(experiment, folder)
    summary = _summary(metrics, evaluation)
    folder.finish(summary, evaluation.predictions if evaluation else None)
    return summary


def fold_experiments(experiment: Experiment) -> list[Experiment]:
    """Every fold of a run as an experiment; none where the run is one training."""
    found = []
    for settings in experiment.application.folds(experiment.data):
        fold = OmegaConf.create(OmegaConf.to_container(experiment.config, resolve=True))
        for key, value in settings.items():
            OmegaConf.update(fold, key, value)
        assert isinstance(fold, DictConfig)
        found.append(Experiment(fold))
    return found


def evaluate_run(experiment: Experiment, folder: RunFolder) -> Evaluation | None:
    """Score a run's best checkpoints; None where a training diverged before it had one."""
    folds = fold_experiments(experiment)
    if not folds:
        return evaluate(experiment, folder)
    if not all(folder.fold(number).best.is_file() for number in range(len(folds))):
        return None
    tasks = [fold.best_task(folder.fold(number)) for number, fold in enumerate(folds)]
    data = [fold.data for fold in folds]
    return experiment.application.evaluate_folds(tasks, data, experiment.data)


def _train_fold(experiment: Experiment, folder: RunFolder, *, quiet: bool) -> dict[str, Any]:
    """Train a fold, continue it where it was interrupted, or read what it left."""
    return folder.metrics() or train(experiment, folder.path, resume=True, quiet=quiet)


def _join(folder: RunFolder, metrics: list[dict[str, Any]]) -> None:
    """Put the folds' records of steps and epochs one after the other, steps counted through."""
    steps: list[pd.DataFrame] = []
    epochs: list[pd.DataFrame] = []
    before = 0
    for number, fold in enumerate(metrics):
        one = folder.fold(number)
        for file, tables in ((one.steps, steps), (one.epochs, epochs)):
            table = pd.read_csv(file)
            tables.append(table.assign(step=table["step"] + before))
        before += fold["steps"]
    for path, parts in ((folder.steps, steps), (folder.epochs, epochs)):
        with replacing(path) as temporary:
            pd.concat(parts).to_csv(temporary, index=False)


def _summary(metrics: list[dict[str, Any]], evaluation: Evaluation | None) -> dict[str, Any]:
    """The metrics of a run from those of its folds; it has diverged when one of them has."""
    total = sum(fold["steps"] for fold in metrics)
    losses = [fold["val_loss"] for fold in metrics]
    return metrics[0] | {
        **_end(metrics),
        "val_loss": None if None in losses else sum(losses) / len(losses),
        "test": _plain(evaluation.metrics) if evaluation else {},
        "steps": total,
        "clip_rate": sum(fold["clip_rate"] * fold["steps"] for fold in metrics) / max(total, 1),
        "skipped": sum(fold["skipped"] for fold in metrics),
        "seconds": round(sum(fold["seconds"] for fold in metrics), 2),
    }


def _end(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    before = 0
    for number, fold in enumerate(metrics):
        if fold["diverged_at"] is not None:
            error = f"fold {number}: {fold['error'] or 'diverged'}"
            return {
                "status": fold["status"],
                "diverged_at": before + fold["diverged_at"],
                "error": error,
            }
        before += fold["steps"]
    return {"status": "completed", "diverged_at": None, "error": None}


def _plain(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in scores.items()}
