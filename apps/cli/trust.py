"""What the configuration in a run's folder may name: a folder comes from anywhere.

A configuration names classes, which are imported and called. On the command line those are the
user's own choice. In a folder they are somebody's: allowed are the classes that `conf/` itself
names under the same key, and of the libraries behind a key those of its kind. Names are compared as
text, over the whole tree, before anything is imported.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from apps import CONF
from apps.errors import UserError

# They write where their arguments say, and leave no folder alone.
_WRITE_ANYWHERE = {"BatchSizeFinder", "LearningRateFinder", "ModelCheckpoint"} | {
    "OnExceptionCheckpoint",
    "SpikeDetection",
}


def check_trusted(config: DictConfig, place: object, trust: Sequence[str] = ()) -> None:
    """UserError if a configuration names what it may not.

    place: where it was read, for the message. trust: packages, modules and classes that the user
    trusts beside those of gradclip.
    """
    for key, name in _targets(OmegaConf.to_container(config)):
        if not isinstance(name, str):
            raise UserError(f"{place}: {key}={name!r}: must be the name of a class")
        if name not in _allowed(key.partition(".")[0]) and not _trusted(name, trust):
            raise UserError(
                f"{place}: {key}={name}: is not of gradclip, and would run code; if you trust it, "
                f"add trust={name.partition('.')[0] or name}"
            )


def refuse_interpolations(config: Any, place: object) -> None:
    """UserError for references in a configuration: it may read variables of the environment.

    A run is written with all of them resolved.
    """
    for key, value in _leaves(OmegaConf.to_container(config, resolve=False)):
        if isinstance(value, str) and "${" in value:
            raise UserError(f"{place}: {key}={value}: a run's configuration holds no references")


def read_trust(value: Any) -> list[str]:
    """The names that `trust=` gives; UserError for what is none."""
    names = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not all(_is_name(name) for name in names):
        raise UserError(f"trust={value}: must be the name of a package or class, or a list of them")
    return list(names)


def targets(config: Mapping[str, Any]) -> list[str]:
    """All classes that a plain configuration names."""
    return sorted({str(name) for _, name in _targets(config)})


def _is_name(value: object) -> bool:
    return isinstance(value, str) and all(part.isidentifier() for part in value.split("."))


def _trusted(name: str, trust: Sequence[str]) -> bool:
    return any(name == known or name.startswith(f"{known}.") for known in trust)


def _targets(node: Any) -> Iterator[tuple[str, Any]]:
    """Every `_target_` below a node, by its key."""
    for key, value in _leaves(node):
        if key.rpartition(".")[2] == "_target_":
            yield key, value


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value below a node by its key, and every `_target_` whatever it is."""
    entries: Any = ()
    if isinstance(node, Mapping):
        entries = node.items()
    elif isinstance(node, list):
        entries = enumerate(node)
    else:
        yield key, node
    for name, value in entries:
        inner = f"{key}.{name}" if key else str(name)
        if name == "_target_" and not isinstance(value, str):
            yield inner, value
        else:
            yield from _leaves(value, inner)


@functools.cache
def _allowed(key: str) -> frozenset[str]:
    """The names that may stand below a key of the configuration."""
    shipped = _shipped()
    found = set(shipped.get(key, ()))
    if key == "app":  # its settings are choices of groups, too
        found |= {name for names in shipped.values() for name in names if name.startswith("apps.")}
    return frozenset(found | set(_OF_LIBRARIES.get(key, set)()))


@functools.cache
def _shipped() -> dict[str, set[str]]:
    """The names in `conf/`, by the key under which they stand in a configuration."""
    found: dict[str, set[str]] = {}
    for file in CONF.rglob("*.yaml"):
        group = file.parent.name
        plain = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        whole = file.read_text(encoding="utf-8").startswith("# @package _global_")
        for key, name in _targets(plain if whole else {group: plain}):
            found.setdefault(key.partition(".")[0], set()).add(str(name))
    return found


def _clipping() -> set[str]:
    import gradclip_core

    kinds = (gradclip_core.Clipper, gradclip_core.Threshold)
    return _classes(gradclip_core, kinds)


def _optimizers() -> set[str]:
    import torch

    import gradclip_core.optimizers

    kind = torch.optim.Optimizer
    return _classes(torch.optim, kind) | _classes(gradclip_core.optimizers, kind)


def _callbacks() -> set[str]:
    import lightning.pytorch as pl

    found = _classes(pl.callbacks, pl.Callback)
    faults = {"GradientFaults", "LabelNoise", "LongSequences", "OutlierBatches"}
    return {name for name in found if name.rpartition(".")[2] not in _WRITE_ANYWHERE} | {
        f"apps.run.stress.{name}" for name in faults
    }


def _loggers() -> set[str]:
    import lightning.pytorch as pl

    return _classes(pl.loggers, pl.loggers.Logger)


def _trainer() -> set[str]:
    import lightning.pytorch as pl

    return _classes(pl.strategies, pl.strategies.Strategy)


_OF_LIBRARIES: dict[str, Callable[[], set[str]]] = {
    "clipping": _clipping,
    "optimizer": _optimizers,
    "callbacks": _callbacks,
    "logger": _loggers,
    "trainer": _trainer,
}


def _classes(module: Any, kinds: Any) -> set[str]:
    """The public classes of a module that are of a kind, as a configuration names them."""
    return {
        f"{module.__name__}.{name}"
        for name, thing in vars(module).items()
        if inspect.isclass(thing) and issubclass(thing, kinds) and not name.startswith("_")
    }
