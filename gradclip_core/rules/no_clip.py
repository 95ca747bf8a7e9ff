"""Measuring alone: the unclipped baseline with the same report."""

from __future__ import annotations

import math
from typing import Unpack

from torch import Tensor

from gradclip_core.parts.norms import Measure, Parts
from gradclip_core.rules.rule import Rule
from gradclip_core.rules.settings import RuleSettings
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
        **settings: Unpack[RuleSettings],
    ) -> None:
        settings.setdefault("nonfinite", "pass")
        super().__init__(Fixed(math.inf), norm_type=norm_type, measure=measure, **settings)

    def respond(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """Leave the gradients as they are."""
        return parts.norms
