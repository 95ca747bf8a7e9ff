"""Partition: which gradients belong together, and what the history of each part is kept under."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from gradclip_core.parts import sharding
from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.names import unnamed

WHOLE, REST = "", "*"  # the keys of the whole gradient, and of what no pattern matches

By: TypeAlias = Literal["model", "group", "module", "parameter", "row"] | Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Partition:
    """Which parameters form which part: `members[k]` holds the positions of part k.

    Where each row of a parameter is a part, `rows` holds the number of rows of each parameter;
    the parts are then all rows of the first parameter, all of the second and so on, and each
    parameter is the only member of its entry in `members`.

    `keys` are what the state of each entry of `members` is kept under, `parameter_keys` that of
    each parameter; both are positions where they are not given. `kind` is what made the parts.
    """

    members: tuple[tuple[int, ...], ...]
    num_parameters: int
    rows: tuple[int, ...] | None = None
    keys: tuple[str, ...] = ()
    parameter_keys: tuple[str, ...] = ()
    kind: str = "model"

    @property
    def is_model(self) -> bool:
        """True where all parameters form one part."""
        return self.rows is None and len(self.members) == 1

    @property
    def is_parameter(self) -> bool:
        """True where each parameter is a part of its own."""
        return self.rows is None and len(self.members) == self.num_parameters

    @property
    def sizes(self) -> dict[str, int]:
        """The number of parts under each key, in their order."""
        keys = self.keys or tuple(map(str, range(len(self.members))))
        return dict(zip(keys, self.rows or [1] * len(keys), strict=True))


def kind_of(by: By) -> str:
    """The name of a way to divide: `by` itself, or "names" for a mapping of patterns."""
    return by if isinstance(by, str) else "names"


def check_by(by: By) -> By:
    """Return a partition rule unchanged; raise ValueError if it is none."""
    if isinstance(by, Mapping):
        if not by:
            raise ValueError("by must name at least one part, got an empty mapping")
        for part, pattern in by.items():
            try:
                re.compile(pattern)
            except (re.error, TypeError) as error:
                raise ValueError(
                    f"by[{part!r}] must be a regular expression, got {pattern!r}: {error}"
                ) from None
        return dict(by)
    if by not in ("model", "group", "module", "parameter", "row"):
        raise ValueError(
            "by must be 'model', 'group', 'module', 'parameter', 'row' or a mapping of part name "
            f"to regular expression, got {by!r}"
        )
    return by


def partition(gradients: Gradients, by: By, keys: Sequence[str] = ()) -> Partition:
    """Divide the parameters into parts; `keys` are what their state is kept under.

    `model` is one part; `group` the optimizer's parameter groups; `module` the first component
    of each parameter's name, after what all names begin with (a wrapper's `module.`, a task's
    `net.`); `parameter` every tensor for itself; `row` every index of a tensor's first dimension
    for itself (a tensor with fewer than two dimensions is one part); a mapping names parts by
    regular expression (first match wins, parameters without a match form one more part).

    Raises ValueError where names are needed and the caller gave none, TypeError for parameters
    of FSDP1.
    """
    sharding.refuse_flat(gradients.params)
    keys = tuple(keys or map(str, range(len(gradients.params))))
    members: dict[str, list[int]] = {}
    for position, label in enumerate(_labels(gradients, by, keys)):
        members.setdefault(label, []).append(position)
    rows = None
    if by == "row":
        rows = tuple(len(param) if param.ndim >= 2 else 1 for param in gradients.params)
    parts = tuple(map(tuple, members.values()))
    return Partition(parts, len(gradients.params), rows, tuple(members), keys, kind_of(by))


def _labels(gradients: Gradients, by: By, keys: Sequence[str]) -> Sequence[str]:
    """The key of the part that each parameter belongs to."""
    if by == "model":
        return [WHOLE] * len(gradients.params)
    if by in ("parameter", "row"):
        return keys
    if by == "group":
        return list(map(str, gradients.groups))
    names = [name for name in gradients.names if name is not None]
    if len(names) < len(gradients.params):
        raise unnamed(f"by={by!r}", gradients.names.index(None))
    if by == "module" and len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(
            f"by='module' would take the modules of two models for one: two parameters are called "
            f"{twice!r}; pass a ModuleDict of the models, or named_parameters(prefix=...) of each"
        )
    if isinstance(by, Mapping):
        patterns = [(str(part), re.compile(pattern)) for part, pattern in by.items()]
        return [next((part for part, p in patterns if p.search(name)), REST) for name in names]
    return _modules(names)


def _modules(names: list[str]) -> list[str]:
    """The path of each name's module, the first below what wraps all of them."""
    shared, rests = "", names
    while len({rest.partition(".")[0] for rest in rests}) == 1:
        inner = [rest.partition(".")[2] for rest in rests]
        if not all(inner) or not any("." in name for name in inner):
            break
        shared, rests = f"{shared}{rests[0].partition('.')[0]}.", inner
    return [shared + rest.partition(".")[0] for rest in rests]
