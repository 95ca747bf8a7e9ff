"""Which gradients a clipper leaves alone, by the names and dimensions of their parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gradclip_core.checks import check_integer
from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.names import OPTIONAL, listed, unnamed


@dataclass(frozen=True, slots=True)
class Selected:
    """One step's gradients (`every`), divided into those to clip and the rest."""

    every: Gradients
    chosen: Gradients
    rest: Gradients = field(default_factory=Gradients)


class Selection:
    """Leaves alone the parameters whose name `exclude` matches or with too few dimensions.

    It also sees to it that each pattern, of `exclude` and of a partition `by` patterns, means a
    parameter: once, at the first step or for the model that is attached. A pattern with
    `(?#optional)` in it, which is a comment, need not. Raises ValueError unless
    `exclude` is a regular expression or None and `min_ndim` an integer >= 0.
    """

    def __init__(self, exclude: str | None = None, min_ndim: int = 0, by: object = None) -> None:
        try:
            self.exclude = None if exclude is None else re.compile(exclude)
        except (re.error, TypeError) as error:
            raise ValueError(
                f"exclude must be a regular expression or None, got {exclude!r}: {error}"
            ) from None
        self.min_ndim = check_integer("min_ndim", min_ndim, least=0)
        self.takes_all = self.exclude is None and self.min_ndim == 0  # whether none is left alone
        self._by = dict(by) if isinstance(by, Mapping) else {}
        self._checked = self.exclude is None and not self._by

    def check(self, names: Sequence[str | None]) -> None:
        """Raise ValueError for a pattern that none of these names has; none may be known yet."""
        known = [name for name in names if name is not None]
        if not known or len(known) < len(names):
            return
        exclude = self.exclude
        matched = exclude is None or any(map(exclude.search, known))
        if exclude is not None and not matched and OPTIONAL not in exclude.pattern:
            raise _unmatched("exclude", exclude.pattern, known)
        left = known
        for part, pattern in self._by.items():
            taken = {name for name in left if re.search(pattern, name)}
            if not taken and OPTIONAL not in pattern:
                raise _unmatched(f"by[{part!r}]", pattern, known)
            left = [name for name in left if name not in taken]
        self._checked = True

    def __call__(self, gradients: Gradients) -> Selected:
        """Divide the gradients; raise ValueError where `exclude` needs names that are missing.

        The first time it is seen that no pattern is without a parameter.
        """
        if not self._checked:
            self.check(gradients.names)
        if self.takes_all:
            return Selected(gradients, gradients)
        chosen, rest = Gradients(), Gradients()
        of_chosen: list[int] = []
        of_rest: list[int] = []
        held = dict(zip(gradients.present, gradients.grads, strict=True))
        for position, param in enumerate(gradients.params):
            left_alone = param.ndim < self.min_ndim or self._excludes(gradients, position)
            into, present = (rest, of_rest) if left_alone else (chosen, of_chosen)
            if position in held:
                present.append(len(into.params))
                into.grads.append(held[position])
            into.params.append(param)
            into.names.append(gradients.names[position])
            into.groups.append(gradients.groups[position])
            into.layouts.extend(gradients.layouts[position : position + 1])
        chosen.present, rest.present = of_chosen, of_rest
        return Selected(gradients, chosen, rest)

    def _excludes(self, gradients: Gradients, position: int) -> bool:
        if self.exclude is None:
            return False
        name = gradients.names[position]
        if name is None:
            raise unnamed(f"exclude={self.exclude.pattern!r}", position)
        return self.exclude.search(name) is not None

    def __getstate__(self) -> dict[str, Any]:
        # A copy may be for another model.
        unchecked = self.exclude is None and not self._by
        return self.__dict__ | {"_checked": unchecked}


def _unmatched(setting: str, pattern: str, names: Sequence[str]) -> ValueError:
    if any(re.search(pattern, name) for name in names):
        why = "those that it matches are taken by the patterns before it"
    else:
        why = "it matches none"
    return ValueError(
        f"{setting}={pattern!r} is left without a parameter: {why}; correct it or leave it out; "
        f"there are {listed(names)}"
    )
