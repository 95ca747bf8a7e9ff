"""Measuring alone: the unclipped baseline with the same report."""

from __future__ import annotations

import math
from typing import Unpack

from torch import Tensor

from gradclip_core.parts.norms import Measure, NormType, Parts
from gradclip_core.rules.rule import Rule
from gradclip_core.rules.settings import RuleSettings
from gradclip_core.thresholds import Fixed


class NoClip(Rule):
    """Measures and never changes a gradient: the unclipped baseline with the same report.

    Examples:
        >>> import torch
        >>> from gradclip_core import NoClip
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> NoClip()([weight]).norm.item()
        5.0
        >>> weight.grad
        tensor([3., 4.])

    Non-finite gradients pass through by default, as they do without any clipper.

    Args:
        norm_type: order p of the norm, any number > 0 or inf.
        measure: "norm"; "rms": norm / D^(1/p) of a part with D elements, the root mean square for
            p = 2; or "spectral": the largest singular value of a tensor as a matrix of len(tensor)
            rows, and of several the largest.
        exclude: regular expression; parameters whose name it matches anywhere are neither measured
            nor clipped. Needs names.
        min_ndim: parameters with fewer dimensions are left alone in the same way; 2: biases,
            scales.
        nonfinite: what happens to a step whose gradient holds NaN or inf: "skip" removes its
            gradients, "raise" stops and names the parameters, "zero" sets the bad elements to zero,
            "pass" lets them through; see `Guard`.
        patience: number of such steps in a row at which NonFiniteGradientError is raised; None
            bears any number.
    """

    modifies_gradients = False
    may_skip_unread = True

    def __init__(
        self,
        *,
        norm_type: NormType = 2.0,
        measure: Measure = "norm",
        **settings: Unpack[RuleSettings],
    ) -> None:
        settings.setdefault("nonfinite", "pass")
        super().__init__(Fixed(math.inf), norm_type=norm_type, measure=measure, **settings)

    def respond(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """Leave the gradients as they are."""
        return parts.norms
