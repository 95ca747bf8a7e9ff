"""Refusing a comparison that cannot work, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from apps.cli.instantiate import instantiate
from apps.errors import UserError
from apps.grid.plan import Planned
from apps.run.experiment import Experiment
from apps.run.folder import RunFolder
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
            instantiate(run.config, "data")
            Experiment(run.config, description).check()
            if here:
                _refuse_machines(run.config)
        folder = RunFolder(run.path)
        if folder.holds_something and _setting(folder.settings()) != _setting(run.config):
            raise UserError(
                f"output_dir: {run.path} holds a run with another configuration; choose another "
                "output_dir"
            )


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
