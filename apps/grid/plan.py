"""Which runs a grid consists of."""

from __future__ import annotations

import hashlib
import itertools
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from apps.cli.compose import compose_run
from apps.errors import UserError
from apps.grid.overrides import Choice, GridOverrides
from apps.report.model.formatting import settings_text
from apps.report.model.runs import UNCLIPPED, Value

_LONGEST_NAME = 150
MAX_SEEDS = 1000


@dataclass(frozen=True, slots=True)
class Planned:
    """One run to be made: its configuration, its folder, and the overrides that repeat it.

    `strategy` and `settings` are those of the report's `Run`; `own` the overrides of the strategy
    that it took.
    """

    config: DictConfig
    path: Path
    overrides: list[str]
    strategy: str
    settings: dict[str, Value] = field(default_factory=dict)
    own: list[str] = field(default_factory=list)

    @property
    def command(self) -> str:
        """The command that repeats the run."""
        return shlex.join(["gradclip-train", *self.overrides])

    @property
    def label(self) -> str:
        """What distinguishes the run, for a line of progress."""
        where = settings_text({k: v for k, v in self.settings.items() if "clipping." not in k})
        return f"{self.strategy:<20} seed {self.config.seed}" + (f"  {where}" if where else "")


def read_seeds(value: int | list[int]) -> list[int]:
    """`seeds=3` means 0, 1, 2; a list is taken as it is. UserError for anything else."""
    found = list(range(min(value, MAX_SEEDS + 1))) if type(value) is int else value
    if (
        not isinstance(found, Sequence)
        or not found
        or not all(type(seed) is int and 0 <= seed < 2**32 for seed in found)
        or len(set(found)) < len(found)
        or len(found) > MAX_SEEDS
    ):
        raise UserError(
            f"seeds={value}: must be a number >= 1 or a list of different numbers >= 0, "
            f"at most {MAX_SEEDS}"
        )
    return list(found)


def read_tuned(value: Any, axes: Collection[str]) -> list[str]:
    """The keys that `tune=` names; UserError for one that is not swept."""
    keys = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(keys, Sequence):
        raise UserError(f"tune={value}: must be a swept key or a list of them")
    for key in keys:
        if key not in axes:
            known = ", ".join(axes) or "none; give it several values"
            raise UserError(f"tune={key}: no swept key; swept: {known}")
    return list(keys)


def plan(
    app: str, grid: GridOverrides, seeds: Sequence[int], tuned: Collection[str], folder: Path
) -> list[Planned]:
    """The runs of a grid in the order of the report: seed by seed, setting by setting.

    A strategy takes the settings (`clipping.x`) that it has; the unclipped one no swept ones.
    Raises UserError for a setting that no strategy has.
    """
    points = [
        planned
        for choices in _settings(grid)
        for strategy in grid.strategies
        for planned in _variants(app, strategy, grid, choices, tuned)
    ]
    _check_taken(grid, points)
    return [_with_seed(point, seed, folder) for seed in seeds for point in points]


def _settings(grid: GridOverrides) -> Iterator[dict[str, Choice]]:
    """Every combination of the values of the keys that all strategies have."""
    axes = {key: choices for key, choices in grid.axes.items() if not _of_strategy(key)}
    for choices in itertools.product(*axes.values()):
        yield dict(zip(axes, choices, strict=True))


def _variants(
    app: str,
    strategy: str,
    grid: GridOverrides,
    choices: Mapping[str, Choice],
    tuned: Collection[str],
) -> Iterator[Planned]:
    """A strategy at a setting: once, or for every combination of its own swept settings."""
    base = [o for o in grid.shared if not _of_strategy(o)]
    base = [f"app={app}", *base, *(choice.override for choice in choices.values())]
    base.append(f"clipping={strategy}")
    config = compose_run(app, base)
    fixed = [o for o in grid.shared if _of_strategy(o) and _takes(config, o)]
    swept = {
        key: values
        for key, values in grid.axes.items()
        if _of_strategy(key) and strategy != UNCLIPPED and _takes(config, values[0].override)
    }
    for values in itertools.product(*swept.values()):
        taken = dict(zip(swept, values, strict=True))
        own = [*fixed, *(choice.override for choice in taken.values())]
        named = {key: choice.value for key, choice in taken.items() if key not in tuned}
        name = " ".join([strategy, *(settings_text({k[9:]: v}) for k, v in named.items())])
        settings = {key: choice.value for key, choice in {**choices, **taken}.items()}
        whole = compose_run(app, base + own) if own else config
        yield Planned(whole, Path(strategy), base + own, name, settings, own)


def _with_seed(point: Planned, seed: int, folder: Path) -> Planned:
    config = point.config.copy()
    config.seed = seed
    path = folder / _folder_name(point.settings) / f"{point.path}-seed{seed}"
    overrides = [*point.overrides, f"seed={seed}"]
    return Planned(config, path, overrides, point.strategy, point.settings, point.own)


def _folder_name(settings: Mapping[str, Value]) -> str:
    """Settings as the name of a folder; one that says not all of them ends in a hash."""
    text = settings_text(settings).replace(", ", ",")
    name = re.sub(r"[^\w.+=,-]", "_", text)[:_LONGEST_NAME]
    return name if name == text else f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _check_taken(grid: GridOverrides, points: Sequence[Planned]) -> None:
    swept = [choice.override for choices in grid.axes.values() for choice in choices]
    for override in (o for o in [*grid.shared, *swept] if _of_strategy(o)):
        if not any(override in point.own for point in points):
            names = ", ".join(grid.strategies)
            raise UserError(f"{override}: no such setting in any of the strategies {names}")


def _of_strategy(override: str) -> bool:
    return override.startswith("clipping.")


def _takes(config: DictConfig, override: str) -> bool:
    """Whether a strategy has the setting; a threshold with settings of its own is none."""
    parent, _, name = override.partition("=")[0].rpartition(".")
    node = OmegaConf.select(config, parent)
    return isinstance(node, DictConfig) and name in node and not OmegaConf.is_dict(node[name])
