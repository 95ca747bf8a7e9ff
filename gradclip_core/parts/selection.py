"""Which gradients a clipper leaves alone, by the names and dimensions of their parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from gradclip_core.checks import check_integer
from gradclip_core.parts.gradients import Gradients


@dataclass(frozen=True, slots=True)
class Selected:
    """One step's gradients (`every`), divided into those to clip and the rest."""

    every: Gradients
    chosen: Gradients
    rest: Gradients = field(default_factory=Gradients)


class Selection:
    """Leaves alone the parameters whose name `exclude` matches or with too few dimensions.

    Raises ValueError unless `exclude` is a regular expression or None and `min_ndim` an
    integer >= 0.
    """

    def __init__(self, exclude: str | None = None, min_ndim: int = 0) -> None:
        try:
            self.exclude = None if exclude is None else re.compile(exclude)
        except (re.error, TypeError) as error:
            raise ValueError(
                f"exclude must be a regular expression or None, got {exclude!r}: {error}"
            ) from None
        self.min_ndim = check_integer("min_ndim", min_ndim, least=0)
        self.takes_all = self.exclude is None and self.min_ndim == 0  # whether none is left alone

    def __call__(self, gradients: Gradients) -> Selected:
        """Divide the gradients; raise ValueError where `exclude` needs names that are missing."""
        if self.takes_all:
            return Selected(gradients, gradients)
        chosen, rest = Gradients(), Gradients()
        of_chosen: list[int] = []
        of_rest: list[int] = []
        held = dict(zip(gradients.present, gradients.grads, strict=True))
        for position, param in enumerate(gradients.params):
            left_alone = param.ndim < self.min_ndim or self._excludes(gradients.names[position])
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

    def _excludes(self, name: str | None) -> bool:
        if self.exclude is None:
            return False
        if name is None:
            raise ValueError(
                f"exclude={self.exclude.pattern!r} needs parameter names: pass the model or "
                "model.named_parameters()"
            )
        return self.exclude.search(name) is not None
