"""What the tests know about the presets of conf/clipping."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from apps import CONF

# Rules that not every optimizer or network suits, with one they serve.
_SUITED = {
    "acclip": ["optimizer=sgd", "optimizer.momentum=0"],
    "in_backward": ["model=lstm"],
}


def preset(name: str) -> DictConfig:
    """The configuration of a preset, with what it has from its base; the caller's own."""
    return copy.deepcopy(_composed(name))


@functools.cache
def _composed(name: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config: DictConfig = compose(f"clipping/{name}").clipping
    OmegaConf.set_struct(config, False)
    return config


def suited(name: str) -> list[str]:
    """Overrides that choose a preset, and an optimizer and a network it serves."""
    return [f"clipping={name}", *_SUITED.get(name, [])]


def with_policy(name: str, policy: str) -> list[str]:
    """Overrides that set a preset's policy for non-finite gradients, in all clippers it has."""
    config = OmegaConf.to_container(preset(name))
    return [f"{key}={policy}" for key in _keys(config, "clipping") if key.endswith(".nonfinite")]


def _keys(node: Any, prefix: str) -> Iterator[str]:
    if not isinstance(node, (dict, list)):
        yield prefix
        return
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield from _keys(value, f"{prefix}.{key}")
