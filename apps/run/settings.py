"""Reading the configuration that a run's folder holds, whoever wrote it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from apps.cli.trust import refuse_interpolations
from apps.errors import UserError
from apps.run.old_names import renamed

MAX_BYTES = 1_000_000  # some thousand times as much as a run writes
MAX_DEPTH = 50


def read_settings(path: Path) -> DictConfig:
    """A run's configuration, with names as they are today.

    Raises UserError for a file that is none, or is none that a run writes: without end, nested
    without end, or with references.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        _check_size(content)
        config = OmegaConf.load(io.StringIO(content.decode()))
        refuse_interpolations(config, path)
        plain: Any = renamed(OmegaConf.to_container(config))
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, OSError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{path}: not a configuration: {first}") from error
    app = plain.get("app") if isinstance(plain, dict) else None
    if not isinstance(app, dict) or not isinstance(app.get("name"), str):
        raise UserError(f"{path}: not the configuration of a run (no app.name)")
    config = OmegaConf.create(plain)
    assert isinstance(config, DictConfig)
    return config


def _check_size(content: bytes) -> None:
    """ValueError for what a reader of YAML would need all memory or its whole stack for."""
    if len(content) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES} bytes")
    depth = 0
    for event in yaml.parse(content, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"refers to *{event.anchor}, and a run writes no references")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} deep")
