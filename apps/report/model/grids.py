"""A grid of runs, and the comparisons that it holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TypeVar

from apps.report.model.runs import UNCLIPPED, Run, Value

Key = TypeVar("Key", bound=Hashable)

_OF_STRATEGY = "clipping."


@dataclass(frozen=True, slots=True)
class Comparison:
    """The runs that stand against each other: every strategy with every seed.

    All share `settings`, the swept keys that were not tuned. `tuned` holds the values that each
    strategy got for the tuned keys, by validation loss; empty where nothing was tuned.
    """

    runs: list[Run]
    settings: dict[str, Value] = field(default_factory=dict)
    tuned: dict[str, dict[str, Value]] = field(default_factory=dict)

    @property
    def strategies(self) -> list[str]:
        """The strategies in order of appearance, the unclipped one first."""
        return names_of(self.runs)

    def of(self, clipping: str) -> list[Run]:
        """The runs of one strategy."""
        return [run for run in self.runs if run.clipping == clipping]


@dataclass(frozen=True, slots=True)
class Grid:
    """Strategies x settings x seeds, all with the same budget.

    `axes` holds the swept keys with their values in the order given (neither strategy nor seed),
    `tuned` those among them of which every strategy gets one value, and `overrides` what all runs
    of the grid share beyond the comparison's own command line.
    """

    runs: list[Run]
    axes: dict[str, list[Value]] = field(default_factory=dict)
    tuned: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        unknown = [key for key in self.tuned if key not in self.axes]
        if unknown:
            raise ValueError(f"tuned keys {unknown} are not among the swept {[*self.axes]}")
        for run in self.runs:
            lacking = [key for key in self.axes if key not in run.settings]
            strange = [key for key in run.settings if key not in self.axes]
            if strange or any(not key.startswith(_OF_STRATEGY) for key in lacking):
                raise ValueError(f"run {run.run_dir} must set {[*self.axes]}, sets {run.settings}")

    @property
    def strategies(self) -> list[str]:
        """The strategies in order of appearance, the unclipped one first."""
        return names_of(self.runs)

    @property
    def axis(self) -> str | None:
        """The numeric key of the stability map: the learning rate, else the first; or none."""
        numeric = [key for key, values in self.axes.items() if all(map(_is_number, values))]
        numeric = [key for key in numeric if not _names_strategies(key, self.tuned)]
        return next(iter(sorted(numeric, key=lambda key: key != "optimizer.lr")), None)

    @property
    def comparisons(self) -> list[Comparison]:
        """One for each setting of the keys that were not tuned."""
        found = []
        for settings, runs in self._by_settings(self.tuned):
            chosen = {name: _best(runs, name, self.tuned) for name in names_of(runs)}
            kept = [run for run in runs if _tuned(run, self.tuned) == chosen[run.clipping]]
            found.append(Comparison(kept, settings, chosen if self.tuned else {}))
        return found

    @property
    def along_axis(self) -> list[Comparison]:
        """All runs over the values of `axis`, one comparison for each setting of the others."""
        if self.axis is None:
            return []
        return [Comparison(runs, shared) for shared, runs in self._by_settings([self.axis])]

    def _by_settings(self, without: Collection[str]) -> list[tuple[dict[str, Value], list[Run]]]:
        def shared(run: Run) -> dict[str, Value]:
            return {
                key: value
                for key, value in run.settings.items()
                if key not in without and not key.startswith(_OF_STRATEGY)
            }

        groups = grouped(self.runs, lambda run: tuple(shared(run).items()))
        return [(dict(settings), runs) for settings, runs in groups.items()]


def names_of(runs: Iterable[Run]) -> list[str]:
    """The strategies in order of appearance, the unclipped one first."""
    names = dict.fromkeys(run.clipping for run in runs)
    return sorted(names, key=lambda name: name != UNCLIPPED)


def grouped(runs: Iterable[Run], key: Callable[[Run], Key]) -> dict[Key, list[Run]]:
    """Runs by key, in order of appearance."""
    groups: dict[Key, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups


def validation_rank(runs: Sequence[Run]) -> tuple[int, float]:
    """What selection makes smallest: runs lost, then the mean of the lowest validation losses.

    A run that diverged, failed or has no validation loss counts as infinitely bad; only among
    groups that all lost some is the one with the fewest preferred. Test scores choose nothing.
    """
    kept = [run.val_loss for run in runs if run.status == "completed" and run.val_loss is not None]
    return len(runs) - len(kept), fmean(kept) if kept else math.inf


def _best(runs: Sequence[Run], name: str, keys: Collection[str]) -> dict[str, Value]:
    """The tuned settings of a strategy that validate best; the first ones given among equals."""
    mine = [run for run in runs if run.clipping == name]
    groups = grouped(mine, lambda run: tuple(_tuned(run, keys).items()))
    settings, _ = min(groups.items(), key=lambda group: validation_rank(group[1]))
    return dict(settings)


def _tuned(run: Run, keys: Collection[str]) -> dict[str, Value]:
    return {key: value for key, value in run.settings.items() if key in keys}


def _names_strategies(key: str, tuned: Collection[str]) -> bool:
    """Whether the values of a key are part of the strategies' names."""
    return key.startswith(_OF_STRATEGY) and key not in tuned


def _is_number(value: Value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
