"""ACClip: every element against the moving average of its own magnitude."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Self, Unpack, cast

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from gradclip_core.checks import check_decay, check_finite, check_number
from gradclip_core.parts.gradients import Gradients, check_elements, check_unsharded
from gradclip_core.parts.measure import measure_parts
from gradclip_core.parts.norms import Parts, combine
from gradclip_core.parts.partition import By
from gradclip_core.rules.rule import Rule
from gradclip_core.rules.settings import RuleSettings
from gradclip_core.thresholds.base import Threshold
from gradclip_core.thresholds.kept_rows import KeptRows


class _Elements(KeptRows, Threshold):
    """The momentum m and the threshold tau of every element, each parameter after the other."""

    momentum: Tensor
    power: Tensor

    def __init__(self, momentum_decay: float, decay: float, alpha: float, entry_cap: float) -> None:
        super().__init__()
        self.momentum_decay = momentum_decay
        self.entry_cap = entry_cap
        self.decay = decay
        self.alpha = alpha
        self._keep_rows("momentum", 0.0, torch.float32)
        self._keep_rows("power", 0.0, torch.float32)

    def forward(self, parts: Parts) -> Tensor:
        """Take in the gradients; the largest tau of each part, (k,)."""
        self._allocate(parts)
        peaks = parts.norms.new_zeros(len(parts.gradients.params))
        for position, grad, momentum, power in self.views(parts.gradients):
            wide = grad.to(momentum)
            finite = wide.isfinite()
            wide = self._capped(wide, power)
            moved = momentum.lerp(wide, 1 - self.momentum_decay)
            momentum.copy_(torch.where(finite, moved, momentum))
            grown = power.lerp(wide.abs() ** self.alpha, 1 - self.decay)
            power.copy_(torch.where(finite & grown.isfinite(), grown, power))
            peaks[position] = (power.amax() ** (1 / self.alpha)).to(peaks)
        return combine(peaks, parts.partition, math.inf)

    def _capped(self, values: Tensor, power: Tensor) -> Tensor:
        """Values of at most so many times their threshold, where they have one."""
        if math.isinf(self.entry_cap):
            return values
        most = torch.where(power > 0, self.entry_cap * power ** (1 / self.alpha), math.inf)
        return values.clamp(-most, most)

    def views(self, found: Gradients) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
        """Position, gradient, m and tau^alpha of each parameter that has a gradient."""
        sizes = [param.numel() for param in found.params]
        momenta, powers = torch.split(self.momentum, sizes), torch.split(self.power, sizes)
        for position, grad in zip(found.present, found.grads, strict=True):
            shape = grad.shape
            yield position, grad, momenta[position].view(shape), powers[position].view(shape)

    def _allocate(self, parts: Parts) -> None:
        """Give each parameter a row for each of its elements."""
        if parts.partition is self._division:
            return
        params, keys = parts.gradients.params, parts.partition.parameter_keys
        wide = any(param.dtype == torch.float64 for param in params)
        dtype = torch.float64 if wide else torch.float32
        sizes = dict(zip(keys, map(Tensor.numel, params), strict=True))
        self._follow(sizes, torch.zeros(0, dtype=dtype, device=parts.gradients.device))
        self._division = parts.partition


class ACClip(Rule):
    """Clips every element at the moving average of its own magnitude.

    Examples:
        >>> import torch
        >>> from gradclip_core import ACClip
        >>> weight, clipper = torch.nn.Parameter(torch.zeros(1)), ACClip()
        >>> for gradient in (1.0, 1.0, 50.0):
        ...     weight.grad = torch.tensor([gradient])
        ...     report = clipper([weight])
        >>> report.clipped.item()
        True

    m <- b1 m + (1 - b1) g; tau^a <- b2 tau^a + (1 - b2) |g|^a; g <- min(1, tau / (|m| + eps)) m,
    all by element, with m and tau zero at the start. Source: Zhang et al. 2020,
    arXiv:1912.03194, algorithm 2 (ACClip), whose step is plain gradient descent along the
    result.

    Args:
        momentum: b1. The rule then hands out its clipped momentum in place of the gradient and
            serves SGD without a momentum of its own. 0 clips the gradient itself, for any
            optimizer.
        decay: b2.
        alpha: a, > 0.
        entry_cap: |g| enters m and tau as at most this multiple of tau, once that is not 0, so that
            one outlier does not set both for thousands of steps; > 1. inf is the source's rule.
        by: what shares one threshold: "model", "group" (parameter groups), "module" (first
            component of the name), "parameter", "row" (each index of the first dimension), or a
            mapping of part name to regular expression.
        eps: added to |m| where the rule divides.
        exclude: regular expression; parameters whose name it matches anywhere are neither measured
            nor clipped. Needs names.
        min_ndim: parameters with fewer dimensions are left alone in the same way; 2: biases,
            scales.
        nonfinite: what happens to a step whose gradient holds NaN or inf: "skip" removes its
            gradients, "raise" stops and names the parameters, "zero" sets the bad elements to zero,
            "pass" lets them through; see `Guard`.
        patience: number of such steps in a row at which NonFiniteGradientError is raised; None
            bears any number.

    Attached to another optimizer while momentum > 0 it raises ValueError. The report's norms
    are the largest |g| of each part, thresholds the largest tau, and "clipped" means that an
    element was over its own. Raises TypeError for sparse and complex gradients. State: two
    numbers for each element, in float32 (float64 beside such parameters).
    """

    def __init__(
        self,
        momentum: float = 0.9,
        decay: float = 0.99,
        alpha: float = 1.0,
        *,
        entry_cap: float = 1000.0,
        by: By = "parameter",
        eps: float = 1e-8,
        **settings: Unpack[RuleSettings],
    ) -> None:
        elements = _Elements(
            check_decay("momentum", momentum),
            check_decay("decay", decay),
            check_finite("alpha", alpha),
            check_number("entry_cap", entry_cap, "a number > 1", lambda x: x > 1),
        )
        super().__init__(
            elements,
            by=by,
            norm_type=math.inf,
            **settings,
        )
        if self.by == "row":
            raise ValueError("by must not be 'row', got 'row': each element has its own threshold")
        self.eps = check_number("eps", eps, "a finite number >= 0", lambda x: 0 <= x < math.inf)
        self.momentum = elements.momentum_decay
        self.changes_below_threshold = self.momentum > 0

    def attach(self, *, model: nn.Module | None = None, optimizer: Optimizer | None = None) -> Self:
        """Check that the optimizer has no momentum beside that of the rule; see the class."""
        model, optimizer = self._together(model, optimizer)
        if self.momentum > 0 and optimizer is not None:
            plain = isinstance(optimizer, SGD) and not any(
                group["momentum"] for group in optimizer.param_groups
            )
            if not plain:
                raise ValueError(
                    f"ACClip with momentum={self.momentum:g} serves SGD(momentum=0), or set its "
                    f"momentum to 0; got {type(optimizer).__name__}"
                )
        return super().attach(model=model, optimizer=optimizer)

    @property
    def _state(self) -> _Elements:
        return cast(_Elements, self.threshold)

    def limits(self, parts: Parts) -> Tensor:
        """The largest threshold of each part, (k,)."""
        check_elements(parts.gradients, "ACClip")
        check_unsharded(parts.gradients, "ACClip")
        return super().limits(parts)

    def over(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """Which parts hold an element over its own threshold, (k,) bool."""
        beyond = parts.norms.new_zeros(len(parts.gradients.params))
        for position, _, momentum, power in self._state.views(parts.gradients):
            over = ~(momentum.abs() <= power ** (1 / self._state.alpha))
            beyond[position] = over.any().to(beyond)
        return combine(beyond, parts.partition, math.inf) > 0

    def respond(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """Put the clipped momentum in place of the gradients."""
        for _, grad, momentum, power in self._state.views(parts.gradients):
            tau = power ** (1 / self._state.alpha)
            clipped = (tau / (momentum.abs() + self.eps)).clamp(max=1.0) * momentum
            # What was not finite and is let through is not in the momentum.
            grad.copy_(torch.where(grad.isfinite(), clipped.to(grad.dtype), grad))
        left, _ = measure_parts(parts.gradients, parts.partition, self.norm_type, self.measure)
        return left
