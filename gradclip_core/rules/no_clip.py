"""Measuring alone: the unclipped baseline with the same report."""

from __future__ import annotations

import math

from torch import Tensor

from gradclip_core.guards import Policy
from gradclip_core.parts.norms import Measure, Parts
from gradclip_core.rules.rule import Rule
from gradclip_core.thresholds import Fixed


class NoClip(Rule):
    """Measures and never changes a gradient: the unclipped baseline with the same report.

    Non-finite gradients pass through by default, as they do without any clipper.
    """

    modifies_gradients = False

    def __init__(
        self,
        *,
        norm_type: float = 2.0,
        measure: Measure = "norm",
        exclude: str | None = None,
        min_ndim: int = 0,
        nonfinite: Policy = "pass",
        patience: int | None = None,
    ) -> None:
        super().__init__(
            Fixed(math.inf),
            norm_type=norm_type,
            measure=measure,
            exclude=exclude,
            min_ndim=min_ndim,
            nonfinite=nonfinite,
            patience=patience,
        )

    def respond(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """Leave the gradients as they are."""
        return parts.norms
