"""Refusing a comparison that cannot work, before anything is written."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from apps.cli.instantiate import instantiate
from apps.errors import UserError
from apps.grid.plan import Planned
from apps.report.model.results import read_results
from apps.report.page.exports import FIGURES, TABLES
from apps.run.experiment import Experiment
from apps.run.folder import RunFolder, code_fingerprint
from apps.run.trainer import bare_trainer

# What may differ between a run as planned and as it stands in its folder.
_OF_PLACE = ("run_dir", "resume", "trust")


def check(planned: Sequence[Planned], description: Mapping[str, Any], *, here: bool) -> None:
    """Refuse runs that cannot work on data so described.

    here: whether they are trained on this machine, which then must have their devices. Raises
    UserError for values that a clipper, an optimizer or the data refuses, and for folders
    that hold other runs.
    """
    seed = planned[0].config.seed
    for run in planned:
        if run.config.seed == seed:  # the others differ in nothing else
            experiment = Experiment(run.config, description)
            instantiate(run.config, "data", experiment.application.sources)
            experiment.check()
            if here:
                _refuse_machines(run.config)
        folder = RunFolder(run.path)
        if folder.holds_something and _setting(folder.settings()) != _setting(run.config):
            raise UserError(
                f"output_dir: {run.path} holds a run with another configuration; choose another "
                "output_dir"
            )


def refuse_foreign(root: Path) -> None:
    """UserError where a report would replace files of a folder that no comparison has written.

    A comparison makes its runs first, then writes results.json, then all others; a front page
    stands over several of them.
    """
    results = root / "results.json"
    if _is_ours(results):
        return
    below = [*root.glob("runs/**/config.yaml"), *filter(_is_ours, root.glob("*/results.json"))]
    if below and not os.path.lexists(results):
        return
    for name in ("results.json", "report.html", "report.md", TABLES, FIGURES):
        if os.path.lexists(root / name):
            raise UserError(
                f"output_dir={root}: holds {name}, which no comparison wrote; choose another folder"
            )


def _is_ours(path: Path) -> bool:
    try:
        read_results(path)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False
    return True


def set_aside(planned: Sequence[Planned]) -> list[tuple[Path, Path]]:
    """Rename the folders of runs that other code has ended; return where they were and are.

    They stay as they are, and the runs are made anew: results of different code are not compared.
    """
    renamed = []
    for path in dict.fromkeys(run.path for run in planned):
        metrics = RunFolder(path).metrics()
        if metrics is None or metrics["code"] == code_fingerprint():
            continue
        name = re.sub(r"\W", "_", str(metrics["code"]))[:16]
        free = (
            path.with_name(f"{path.name}.of-{name}{end}")
            for end in ("", *map(".{}".format, range(2, 1000)))
        )
        kept = next(place for place in free if not os.path.lexists(place))
        path.rename(kept)
        renamed.append((path, kept))
    return renamed


def _refuse_machines(config: DictConfig) -> None:
    trainer = bare_trainer(config)
    if trainer.num_nodes > 1:
        raise UserError(
            f"trainer.num_nodes={trainer.num_nodes}: a run of a comparison trains on one machine; "
            "allowed: 1"
        )


def _setting(config: DictConfig) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(config, resolve=True)
    return {key: value for key, value in plain.items() if key not in _OF_PLACE}
