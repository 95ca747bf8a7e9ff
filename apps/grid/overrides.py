"""A command line that stands for many runs: what it sweeps, and what all runs share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from hydra.core.override_parser.types import (
    ChoiceSweep,
    Override,
    QuotedString,
    RangeSweep,
    Transformer,
)
from hydra.errors import HydraException

from apps.cli.compose import parse
from apps.errors import UserError
from apps.report.model.formatting import value_text
from apps.report.model.runs import UNCLIPPED, Value

# Keys that the comparison itself answers to; settings of a strategy (clipping.x) go to the runs.
_OWN_KEY = re.compile(r"(app|clipping|seeds|tune|output_dir|jobs)$|(sweep|launcher)(\.|$)")
MAX_VALUES = 1000  # of one key
_LISTS = ("clipping", "seeds", "tune")
_OF_RUNS = {
    "seed": "give seeds=",
    "run_dir": "give output_dir=",
    "resume": "repeat the command",
    "trust": "what the command line names is trusted",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a swept key, and the override that sets it."""

    value: Value
    override: str

    @property
    def text(self) -> str:
        """The value as one gives it."""
        return value_text(self.value)


@dataclass(frozen=True, slots=True)
class GridOverrides:
    """What a grid of runs is made of: strategies, what all runs share, and swept keys."""

    strategies: list[str]
    shared: list[str]
    axes: dict[str, list[Choice]]


def read_grid(overrides: Iterable[str], default: str | None) -> GridOverrides:
    """The grid of a command line; of several values for one key the last counts.

    default: the strategy where `clipping=` names none; the unclipped one is always among them.
    Raises UserError for values that are no list of different values.
    """
    last = {override.key_or_group: override for override in _parsed(overrides)}
    strategies = _strategies(last.get("clipping"), default)
    others = [o for key, o in last.items() if _OWN_KEY.match(key) is None]
    for override in others:
        if override.key_or_group in _OF_RUNS:
            instead = _OF_RUNS[override.key_or_group]
            raise UserError(f"{override.input_line}: the comparison sets it; {instead}")
    return GridOverrides(
        strategies,
        shared=[str(o.input_line) for o in others if not o.is_sweep_override()],
        axes={o.key_or_group: _choices(o) for o in others if o.is_sweep_override()},
    )


def apps_of(arguments: Sequence[str]) -> list[str]:
    """The applications that `app=` names; empty where it names none."""
    found: list[str] = []
    for override in _parsed(_overrides(arguments)):
        if override.key_or_group == "app":
            swept = override.is_sweep_override()
            found = [c.text for c in _choices(override)] if swept else [str(override.value())]
    return found


def for_app(arguments: Sequence[str], app: str) -> list[str]:
    """The overrides of a command line with one application."""
    kept = [o.input_line for o in _parsed(_overrides(arguments)) if o.key_or_group != "app"]
    return [f"app={app}", *map(str, kept)]


def first_point(arguments: Sequence[str]) -> list[str]:
    """A command line that Hydra can compose: each sweep replaced by its first value.

    Keys that take lists get all their values. Raises UserError for sweeps without a list of
    values, and of keys that can have one alone.
    """
    if {"-m", "--multirun"} & set(arguments):
        raise UserError("--multirun: a comparison takes lists of values by itself; leave it out")
    return [_first(argument) for argument in arguments]


def _first(argument: str) -> str:
    try:
        override = parse([argument])[0] if not argument.startswith("-") else None
    except HydraException:
        return argument  # Hydra itself will say what is wrong with it
    if override is None or not override.is_sweep_override():
        return argument
    choices, key = _choices(override), override.key_or_group
    if key in _LISTS:
        values = ",".join(choice.override.partition("=")[2] for choice in choices)
        return f"{key}=[{values}]"
    if _OWN_KEY.match(key) and key != "app":
        raise UserError(f"{argument}: takes one value")
    return choices[0].override


def _overrides(arguments: Sequence[str]) -> list[str]:
    return [argument for argument in arguments if not argument.startswith("-")]


def _parsed(overrides: Iterable[str]) -> list[Override]:
    return [o for o in parse(list(overrides)) if not o.is_hydra_override()]


def _strategies(override: Override | None, default: str | None) -> list[str]:
    names = [default] if default else []
    if override is not None and override.is_sweep_override():
        names = [choice.text for choice in _choices(override)]
    elif override is not None:
        value = override.value()
        names = [str(name) for name in value] if isinstance(value, list) else [str(value)]
    return list(dict.fromkeys([UNCLIPPED, *names]))


def _choices(override: Override) -> list[Choice]:
    sweep = override.value()
    if not isinstance(sweep, (ChoiceSweep, RangeSweep)) or sweep.shuffle:
        raise UserError(f"{override.input_line}: allowed: a list such as 1,2 or range(1,3)")
    values = map(_plain, override.sweep_iterator(Transformer.identity))
    key, texts = override.get_key_element(), override.sweep_string_iterator()
    pairs = list(islice(zip(values, texts, strict=True), MAX_VALUES + 1))
    if len(pairs) > MAX_VALUES:
        raise UserError(f"{override.input_line}: stands for more than {MAX_VALUES} values")
    choices = [Choice(value, f"{key}={text}") for value, text in pairs]
    if not choices or len({choice.text for choice in choices}) < len(choices):
        raise UserError(f"{override.input_line}: must be different values, at least one")
    return choices


def _plain(value: object) -> Value:
    if isinstance(value, QuotedString):
        return value.text
    return value if isinstance(value, (bool, int, float)) or value is None else str(value)
