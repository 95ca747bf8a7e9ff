"""Training a run: once, or fold after fold where its application wants several trainings.

A run of folds holds a whole run in `folds/0`, `folds/1`, ... for each of them. Its own `steps.csv`
and `epochs.csv` are theirs one after the other, and its score is that of all their forecasts
together.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from apps.base.application import Evaluation
from apps.cli.instantiate import instantiate
from apps.run.folder import RunFolder
from apps.run.trainer import refuse_processes
from apps.run.training import Parts, best_task, build, evaluate, make_clipper, train


def train_run(
    config: DictConfig, path: Path, *, resume: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Train, score on the test split and return the run's metrics; see `training.train`."""
    parts = build(config)
    folds = fold_configs(config, parts)
    if not folds:
        return train(config, path, parts, resume=resume, quiet=quiet)
    make_clipper(config, parts.task)
    instantiate(config, "callbacks")
    refuse_processes(config, "a run of several folds trains")
    folder = RunFolder(path)
    if not resume:
        folder.refuse_others()
    with folder.claim():
        if not resume:
            RunFolder.create(path, config, parts.data.description)
        return _train_folds(config, parts, folder, folds, quiet=quiet)


def _train_folds(
    config: DictConfig,
    parts: Parts,
    folder: RunFolder,
    folds: list[DictConfig],
    *,
    quiet: bool,
) -> dict[str, Any]:
    """Train all folds in a folder that is ready, and score them together."""
    metrics = []
    for number, fold in enumerate(folds):
        metrics.append(_train_fold(fold, folder.fold(number), quiet=quiet))
        if not quiet:
            print(f"fold {number + 1} of {len(folds)}: {metrics[-1]['status']}", flush=True)
    _join(folder, metrics)
    evaluation = evaluate_run(config, parts, folder)
    summary = _summary(metrics, evaluation)
    folder.finish(summary, evaluation.predictions if evaluation else None)
    return summary


def fold_configs(config: DictConfig, parts: Parts) -> list[DictConfig]:
    """The configuration of every fold of a run; none where the run is one training."""
    found = []
    for settings in parts.application.folds(parts.data):
        fold = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
        for key, value in settings.items():
            OmegaConf.update(fold, key, value)
        assert isinstance(fold, DictConfig)
        found.append(fold)
    return found


def evaluate_run(config: DictConfig, parts: Parts, folder: RunFolder) -> Evaluation | None:
    """Score a run's best checkpoints; None where a training diverged before it had one."""
    configs = fold_configs(config, parts)
    if not configs:
        return evaluate(config, parts, folder)
    if not all(folder.fold(number).best.is_file() for number in range(len(configs))):
        return None
    folds = [build(fold) for fold in configs]
    tasks = [
        best_task(fold, part, folder.fold(number))
        for number, (fold, part) in enumerate(zip(configs, folds, strict=True))
    ]
    return parts.application.evaluate_folds(tasks, [part.data for part in folds], parts.data)


def _train_fold(config: DictConfig, folder: RunFolder, *, quiet: bool) -> dict[str, Any]:
    """Train a fold, continue it where it was interrupted, or read what it left."""
    metrics = folder.metrics()
    if metrics is not None:
        return metrics
    resume = folder.last.is_file()
    if not resume and folder.path.exists():
        shutil.rmtree(folder.path)  # interrupted before its first checkpoint
    return train(config, folder.path, build(config), resume=resume, quiet=quiet)


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
    pd.concat(steps).to_csv(folder.steps, index=False)
    pd.concat(epochs).to_csv(folder.epochs, index=False)


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
