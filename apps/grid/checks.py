"""Refusing a comparison that cannot work, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from apps.configuration import instantiate
from apps.errors import UserError
from apps.faults import check_faults
from apps.fit import make_clipper, make_task
from apps.grid.plan import Planned
from apps.run_folder import RunFolder
from apps.trainer import refuse_processes

# What may differ between a run as planned and as it stands in its folder.
_OF_PLACE = ("run_dir", "resume")


def check(planned: Sequence[Planned], description: Mapping[str, Any]) -> None:
    """Refuse runs that cannot work on data so described.

    Raises UserError for values that a clipper, an optimizer or the data refuses, and for folders
    that hold other runs.
    """
    seed = planned[0].config.seed
    for run in planned:
        if run.config.seed == seed:  # the others differ in nothing else
            instantiate(run.config, "data")
            task = make_task(instantiate(run.config, "app"), run.config, description)
            make_clipper(run.config, task)
            callbacks = instantiate(run.config, "callbacks").values()
            check_faults(callbacks, task, run.config.app.name)
            refuse_processes(run.config, "gradclip-compare trains")
        folder = RunFolder(run.path)
        if folder.holds_something and _setting(folder.config()) != _setting(run.config):
            raise UserError(
                f"output_dir: {run.path} holds a run with another configuration; choose another "
                "output_dir"
            )


def _setting(config: DictConfig) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(config, resolve=True)
    return {key: value for key, value in plain.items() if key not in _OF_PLACE}
