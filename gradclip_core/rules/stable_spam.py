"""Stable-SPAM: elements against their parameter's usual peak, then norms against their history."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Self, Unpack

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradclip_core.checks import check_decay, check_number
from gradclip_core.parts.gradients import check_elements
from gradclip_core.parts.measure import measure_parts
from gradclip_core.parts.norms import Parts
from gradclip_core.parts.responses import broadcast_to_gradients, scale
from gradclip_core.rules.rule import Rule
from gradclip_core.rules.settings import RuleSettings
from gradclip_core.stepping.momentum_reset import MomentumReset
from gradclip_core.stepping.second_moment import check_served
from gradclip_core.thresholds.base import Statistic


class _Average(Statistic):
    """The bias-corrected moving average of the norms, this step's among them; inf before any."""

    average: Tensor
    count: Tensor

    def __init__(self, decay: float, power: float = 1.0) -> None:
        super().__init__()
        self.decay = decay
        self.power = power
        self._declare("average", 0.0)
        self._declare("count", 0)

    def forward(self, parts: Parts) -> Tensor:
        """The average of the norms to the power, and of this power the root, (k,)."""
        self._allocate(parts)
        values = torch.where(parts.usable, parts.norms, 0.0) ** self.power
        average = self.average.lerp(values, 1 - self.decay)
        self._take(parts.usable, average=average, count=self.count + 1)
        corrected = self.average / (1 - self.decay ** self.count.to(values.dtype))
        return corrected.masked_fill(self.count == 0, math.inf) ** (1 / self.power)


class StableSpam(Rule):
    """Cuts elements over their parameter's usual peak, and gives each gradient a steady norm.

    Examples:
        >>> import torch
        >>> from gradclip_core import StableSpam
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> report = StableSpam(reset_every=None)([weight])
        >>> print(f"{weight.grad.norm():.3f}")
        1.000

    For each parameter, in this order:
    AdaClip: with m = max |g_i| and T its average of decay `peak_decay`, elements over T become
        g_i <- g_i T / m.
    AdaGN: with n = ||g||_2 then, mu the average of n (`mean_decay`) and nu that of n^2
        (`square_decay`), g <- g / n * mu / (sqrt(nu) + eps): a direction times a share of 1 that
        falls when the norm is erratic.
    All averages take in this step and are corrected for the start. Source: Huang et al. 2025,
    arXiv:2502.17055 (Stable-SPAM), where Adam follows.

    Args:
        eps: added to the norm where the hard response divides; 1e-6 as in PyTorch, 0 is exact.
        peak_decay: of the average of the peaks, >= 0 and < 1.
        mean_decay: of the average of the norms, >= 0 and < 1.
        square_decay: of the average of the squared norms, >= 0 and < 1.
        reset_every: every so many steps the moments of the attached optimizer and its bias
            correction begin anew (1000 in the source); None never resets and needs no optimizer.
            With it the rule serves Adam, AdamW, NAdam, RAdam, RMSprop and Adadelta.
        exclude: regular expression; parameters whose name it matches anywhere are neither measured
            nor clipped. Needs names.
        min_ndim: parameters with fewer dimensions are left alone in the same way; 2: biases,
            scales.
        nonfinite: what happens to a step whose gradient holds NaN or inf: "skip" removes its
            gradients, "raise" stops and names the parameters, "zero" sets the bad elements to zero,
            "pass" lets them through; see `Guard`.
        patience: number of such steps in a row at which NonFiniteGradientError is raised; None
            bears any number.

    Parameters with a zero gradient are passed by. The report's norms are the peaks m, thresholds
    T; the gradient that comes out is of the size 1. Raises TypeError for sparse and complex
    gradients. State: 5 numbers of 8 bytes for each parameter.
    """

    changes_below_threshold = True

    def __init__(
        self,
        *,
        peak_decay: float = 0.999,
        mean_decay: float = 0.7,
        square_decay: float = 0.9,
        eps: float = 1e-8,
        reset_every: int | None = None,
        **settings: Unpack[RuleSettings],
    ) -> None:
        super().__init__(
            _Average(check_decay("peak_decay", peak_decay)),
            by="parameter",
            norm_type=math.inf,
            **settings,
        )
        self.mean = _Average(check_decay("mean_decay", mean_decay))
        self.square = _Average(check_decay("square_decay", square_decay), power=2.0)
        self.eps = check_number("eps", eps, "a finite number >= 0", lambda x: 0 <= x < math.inf)
        self.reset = MomentumReset(reset_every, restart=True)

    def attach(self, *, model: nn.Module | None = None, optimizer: Optimizer | None = None) -> Self:
        """Reset the moments of this optimizer; ValueError if it has none and they are asked for."""
        model, optimizer = self._together(model, optimizer)
        if self.reset.every is not None:
            check_served("StableSpam with reset_every", optimizer)
        return super().attach(model=model, optimizer=optimizer)

    def limits(self, parts: Parts) -> Tensor:
        """The average peak of each parameter, (k,)."""
        check_elements(parts.gradients, "StableSpam")
        if self.reset.every is not None:
            self.reset(self._attached())
        return super().limits(parts)

    def respond(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """Cut the peaks and set the norms; the peaks that are left, (k,)."""
        shares = (thresholds / parts.norms).clamp(max=1.0)
        bounds = broadcast_to_gradients(parts, thresholds), broadcast_to_gradients(parts, shares)
        for grad, bound, share in zip(parts.gradients.grads, *bounds, strict=True):
            wide = grad.to(torch.promote_types(grad.dtype, torch.float32))
            grad.copy_(torch.where(wide.abs() > bound.to(wide), wide * share.to(wide), wide))
        norms, _ = measure_parts(parts.gradients, parts.partition, 2.0, "norm")
        usable = parts.usable & norms.isfinite() & (norms > 0)
        left = replace(parts, norms=norms, usable=usable, norm_type=2.0)
        targets = self.mean(left) / (self.square(left) + self.eps)
        factors = torch.where(usable, targets / norms, 1.0)
        scale(parts, factors)
        return torch.minimum(parts.norms, thresholds) * factors
