"""Composing configurations: names of the choices made, and the runs of a comparison."""

from __future__ import annotations

import copy
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from apps.cli.command import search_path
from apps.errors import UserError


def given() -> list[str]:
    """The overrides on the command line, without Hydra's own."""
    return [str(item) for item in HydraConfig.get().overrides.task]


def is_multirun() -> bool:
    """Whether Hydra makes several runs."""
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def chosen(group: str) -> str:
    """The option chosen for a configuration group."""
    return str(HydraConfig.get().runtime.choices[group])


def named(config: DictConfig) -> DictConfig:
    """The configuration with the names of the chosen options in `choices`."""
    return _with_choices(config, HydraConfig.get().runtime.choices)


def compose_run(app: str, overrides: list[str], verb: str = "train") -> DictConfig:
    """Compose the configuration of one training run, or of another verb."""
    config = compose(verb, [*overrides, search_path(app)], return_hydra_config=True)
    choices = config.hydra.runtime.choices
    with open_dict(config):
        del config["hydra"]
    return _with_choices(config, choices)


def parse(overrides: list[str]) -> list[Override]:
    """Parse overrides with Hydra's grammar."""
    return list(OverridesParser.create().parse_overrides(overrides))


def _with_choices(config: DictConfig, choices: Any) -> DictConfig:
    names = {
        group: str(choice)
        for group, choice in choices.items()
        if not group.startswith("hydra/") and choice is not None
    }
    with open_dict(config):
        config.choices = names
    return config


def with_decoder(config: DictConfig, decoder: DictConfig | None) -> DictConfig:
    """A run's configuration with another decoder; UserError if its application has none."""
    if decoder is None:
        return config
    if "decoder" not in config.app:
        raise UserError(f"decoder: app={config.app.name} has none")
    changed = copy.deepcopy(config)
    changed.app.decoder = decoder
    return changed
