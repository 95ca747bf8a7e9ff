"""U-Clip: what was clipped away is not lost but added to the next gradient."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradclip_core.checks import check_positive
from gradclip_core.clipper import Clipper
from gradclip_core.composed.composite import (
    attach_all,
    check_parts,
    collect_filled,
    dropped,
    know_on_the_host,
)
from gradclip_core.parts import norms
from gradclip_core.parts.gradients import Gradients, Parameters, as_groups
from gradclip_core.parts.keys import ParameterKeys
from gradclip_core.parts.per_parameter import PerParameter
from gradclip_core.report import ClipReport


class UClip(Clipper):
    """Clips g + D, where D is what earlier steps clipped away: unbiased on average.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipValue, UClip
        >>> weight, clipper = torch.nn.Parameter(torch.zeros(1)), UClip(ClipValue(1.0))
        >>> for gradient in (1.5, 0.0):
        ...     weight.grad = torch.tensor([gradient])
        ...     report = clipper([weight])
        ...     print(weight.grad.item())
        1.0
        0.5

    u = clip(g + D); D <- g + D - u; the optimizer gets u, so that u_1 + ... + u_t + D_t =
    g_1 + ... + g_t. Source: Elesedy and Hutter 2023, arXiv:2302.02971, algorithm 1.

    Args:
        clipper: any clipper of gradients, by norm or by value.
        max_carry: the norm of D is at most this multiple of the norm of u, > 0: a huge gradient
            then echoes for about so many steps. inf is the source's rule.

    A step that is dropped leaves D as it was; elements of D that are not finite become 0. The
    report is that of `clipper`: of g + D before and u after. State: one tensor for each
    parameter (float32 beside half precision), and as much again during the call; of sparse
    gradients only the rows at hand are carried on. Raises ValueError or TypeError at
    construction for arguments that make no sense.
    """

    def __init__(self, clipper: Clipper, *, max_carry: float = 10.0) -> None:
        super().__init__()
        check_parts({"clipper": clipper})
        self.clipper = clipper
        know_on_the_host([clipper])  # a dropped step leaves the carry alone
        self.max_carry = check_positive("max_carry", max_carry)
        self.carry = PerParameter()
        self._keys = ParameterKeys()

    def attach(self, *, model: nn.Module | None = None, optimizer: Optimizer | None = None) -> Self:
        """Attach the clipper; raises what it raises."""
        super().attach(model=model, optimizer=optimizer)
        return attach_all(self, [self.clipper])

    def detach(self) -> None:
        """Detach the clipper."""
        super().detach()
        self.clipper.detach()

    @torch.no_grad()
    def forward(self, parameters: Parameters, *, loss: Tensor | None = None) -> ClipReport:
        """Clip gradients and carry; raises what the clipper raises."""
        gradients = collect_filled(parameters)
        if not gradients.grads:
            self._found_nothing(parameters)
        keys = self._keys(gradients)
        kept = zip(gradients.grads, self.carry.read(gradients, keys), strict=True)
        given = [grad + carry for grad, carry in kept]
        for grad, value in zip(gradients.grads, given, strict=True):
            grad.copy_(value)
        self.last_report = self.clipper(as_groups(gradients), loss=loss)
        if not dropped(gradients):
            self.carry.write(gradients, keys, self._left(gradients, given))
        return self.last_report

    def _left(self, gradients: Gradients, given: list[Tensor]) -> list[Tensor]:
        """What the clipper took from the values given to it, within the bound."""
        pairs = zip(given, gradients.grads, strict=True)
        left = [(value - grad).nan_to_num_(0.0, 0.0, 0.0) for value, grad in pairs]
        if math.isinf(self.max_carry):
            return left
        bound = self.max_carry * _norm(gradients)
        factor = (bound / _norm(replace(gradients, grads=left))).clamp(max=1.0)
        if factor.device.type == "cpu" and not factor < 1:  # NaN where there is no carry
            return left
        factor = torch.where(bound.isfinite() & factor.isfinite(), factor, 0.0)
        return [value * factor.to(value.device) for value in left]


def _norm(gradients: Gradients) -> Tensor:
    return norms.total(norms.parameter_norms(gradients), 2.0)
