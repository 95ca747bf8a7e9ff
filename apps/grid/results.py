"""The report's records of a comparison, from its configuration and its runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from apps.base.application import Application, Evaluation
from apps.grid.plan import Planned
from apps.report.model.grids import Grid
from apps.report.model.results import Results
from apps.report.model.runs import Run
from apps.run.environment import environment

# Keys that say where and how a comparison is made, not what it is.
_OF_PLACE = ("choices", "jobs", "launcher", "output_dir", "resume", "run_dir")


def as_run(planned: Planned, metrics: Mapping[str, Any], root: Path) -> Run:
    """The report's record of a run."""
    return Run(
        clipping=planned.strategy,
        seed=planned.config.seed,
        optimizer=planned.config.choices.optimizer,
        lr=planned.config.optimizer.lr,
        status=metrics["status"],
        settings=planned.settings,
        test=metrics.get("test", {}),
        diverged_at=metrics.get("diverged_at"),
        error=metrics.get("error"),
        seconds=metrics.get("seconds", 0.0),
        steps=metrics.get("steps", 0),
        clip_rate=metrics.get("clip_rate"),
        skipped=metrics.get("skipped", 0),
        run_dir=planned.path.relative_to(root).as_posix(),
        command=planned.command,
        val_loss=metrics.get("val_loss"),
        falling=metrics.get("falling", False),
    )


def as_results(
    config: DictConfig,
    application: Application,
    grid: Grid,
    sweep: Grid | None,
    baselines: Mapping[str, Evaluation],
    arguments: Sequence[str],
    notes: Sequence[str],
) -> Results:
    """The report's record of the whole comparison."""
    primary = next(m for m in application.metrics if m.name == application.metric)
    plain: Any = OmegaConf.to_container(config, resolve=True)
    return Results(
        app=config.app.name,
        title=application.title,
        metric=application.metric,
        trained_metric=application.trained_metric,
        direction=primary.direction,
        metrics=list(application.metrics),
        grid=grid,
        sweep=sweep,
        baselines={name: dict(evaluation.metrics) for name, evaluation in baselines.items()},
        config={key: value for key, value in plain.items() if key not in _OF_PLACE},
        command=shlex.join(["gradclip-compare", *arguments]),
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        environment=environment(),
        notes=[*notes, *application.notes],
    )
