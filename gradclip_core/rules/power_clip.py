"""SPAMP: gradients over their threshold are flattened by a power, then brought to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

import torch
from torch import Tensor

from gradclip_core.checks import check_number
from gradclip_core.parts.measure import measure_parts
from gradclip_core.parts.norms import Parts
from gradclip_core.parts.responses import broadcast_to_gradients
from gradclip_core.rules.norm_rule import NormRule
from gradclip_core.rules.settings import PartSettings
from gradclip_core.thresholds import Threshold


class PowerClip(NormRule):
    """Raises the elements of a part over its threshold to a power below 1, and scales it to that.

    Examples:
        >>> import torch
        >>> from gradclip_core import PowerClip
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([0.9, 0.1])
        >>> report = PowerClip(0.3, min_exponent=0.5)([weight])
        >>> weight.grad  # 9 to 1 before; the norm is 0.3 now
        tensor([0.2923, 0.0677])

    Where n > tau: g <- sign(g) |g|^a with a = m + (1 - m) tau / n and m = `min_exponent`, and then
    times tau / n' if the norm n' is over tau still. The ratio of two elements becomes its a-th
    power, so that the direction changes, unlike with `ClipNorm`. Source: You and Liu 2025,
    arXiv:2510.01578 (SPAMP), by layer, with an a that decreases in n / tau from 1 to 0.7; how it
    does is ours, and leaves alone what is not over. As there |g|^a is of plain numbers: elements
    over 1 shrink by it, and those below grow.

    Args:
        max_norm: the threshold tau: a number > 0, or a `Threshold`; there the moving average of
            the norms, `Ema(1.0, entry_cap=inf)`.
        min_exponent: m, from 0 to 1: 0 tends to the signs alone, 1 is clipping by norm.
        by: what shares one threshold: "model", "group" (parameter groups), "module" (first
            component of the name), "parameter", "row" (each index of the first dimension), or a
            mapping of part name to regular expression.
        norm_type: order p of the norm, any number > 0 or inf.
        measure: "norm", "rms" or "spectral", as in `ClipNorm`.
        exclude: regular expression; parameters whose name it matches anywhere are neither measured
            nor clipped. Needs names.
        min_ndim: parameters with fewer dimensions are left alone in the same way; 2: biases,
            scales.
        nonfinite: what happens to a step whose gradient holds NaN or inf: "skip" removes its
            gradients, "raise" stops and names the parameters, "zero" sets the bad elements to zero,
            "pass" lets them through; see `Guard`.
        patience: number of such steps in a row at which NonFiniteGradientError is raised; None
            bears any number.

    Half precision is raised in float32 and rounded once. Memory: a copy of the gradients. State:
    that of the threshold.
    """

    may_skip_unread = True

    def __init__(
        self,
        max_norm: float | Threshold,
        *,
        min_exponent: float = 0.7,
        **settings: Unpack[PartSettings],
    ) -> None:
        super().__init__(max_norm, **settings)
        self.min_exponent = check_number(
            "min_exponent", min_exponent, "from 0 to 1", lambda x: 0 <= x <= 1
        )

    def respond(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """Flatten the parts that are over, and scale them; the norms that they have then."""
        over = self.over(parts, thresholds)
        least = self.min_exponent
        exponents = torch.where(over, least + (1 - least) * thresholds / parts.norms, 1.0)
        found = parts.gradients
        powers = list(map(_power, found.grads, broadcast_to_gradients(parts, exponents)))
        flattened = replace(found, grads=powers, plain=False)
        norms, _ = measure_parts(flattened, parts.partition, parts.norm_type, parts.measure)
        factors = torch.where(norms <= thresholds, 1.0, thresholds / norms)
        by, beyond = (broadcast_to_gradients(parts, each) for each in (factors, over))
        for grad, power, factor, which in zip(found.grads, powers, by, beyond, strict=True):
            scaled = (power * _like(factor, power)).to(grad.dtype)
            grad.copy_(torch.where(which.to(grad.device), scaled, grad))
        return torch.where(over, norms * factors, parts.norms)


def _power(grad: Tensor, exponent: Tensor) -> Tensor:
    """sign(g) |g|^exponent, in float32 at least."""
    wide = grad.to(torch.promote_types(grad.dtype, torch.float32))
    return wide.sgn() * wide.abs() ** _like(exponent, wide)


def _like(numbers: Tensor, values: Tensor) -> Tensor:
    """Real numbers of the precision of these values, and on their device."""
    return numbers.to(values.device, values.dtype.to_real())
