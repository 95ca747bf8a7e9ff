"""A threshold from the mean gradient and the noise around it."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from gradclip_core.checks import check_decay, check_finite, check_integer, renamed_arguments
from gradclip_core.parts.measure import measure_parts
from gradclip_core.parts.norms import Parts
from gradclip_core.parts.per_parameter import PerParameter
from gradclip_core.parts.responses import broadcast_to_gradients
from gradclip_core.thresholds.base import SD_FLOOR, Statistic
from gradclip_core.thresholds.recurrence import newest_weight


@renamed_arguments(z="deviations", warmup="warmup_steps")
class NoiseAware(Statistic):
    """Norm of the mean gradient plus `deviations` standard deviations of the gradient around it.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipNorm, NoiseAware
        >>> clipper = ClipNorm(NoiseAware(2.0, warmup_steps=2))
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> for norm in (1.0, 1.2, 9.0):
        ...     weight.grad = torch.tensor([norm])
        ...     report = clipper([weight])
        >>> print(f"{report.threshold:.2f}")
        1.30

    tau = ||m|| + z * max(sd, ||m|| / 1000), with z = `deviations`, m the bias-corrected exponential
    mean of the gradients before this step and sd^2 that of ||g - m||^2: a norm over tau is more
    than signal and noise explain. It is the noise scale of McCandlish et al. 2018,
    arXiv:1812.06162, kept for each part over time. inf for the first `warmup_steps` norms.

    Args:
        deviations: z, > 0; over 1, or the threshold could only fall.
        decay: the weight of the past: 0.98 looks back about 50 steps.
        warmup_steps: norms to see before the first threshold, >= 1.

    A gradient over the threshold enters as it was clipped. Norms are those of the rule. State:
    one tensor for each parameter (float32 beside half precision; of sparse gradients only the
    rows at hand are read and moved) and 2 numbers of 8 bytes for each part. Raises ValueError
    for values out of range.
    """

    sd: Tensor
    count: Tensor

    def __init__(
        self, deviations: float = 2.0, decay: float = 0.98, warmup_steps: int = 25
    ) -> None:
        super().__init__()
        self.deviations = check_finite("deviations", deviations)
        self.decay = check_decay("decay", decay)
        self.warmup_steps = check_integer("warmup_steps", warmup_steps)
        self.mean = PerParameter()
        self._declare("sd", 0.0)
        self._declare("count", 0)

    def forward(self, parts: Parts) -> Tensor:
        """Return the thresholds, (k,), and take in this step's gradients."""
        self._allocate(parts)
        means = self.mean.read(parts.gradients, parts.partition.parameter_keys)
        signal = _norms(parts, means)
        threshold = signal + self.deviations * torch.maximum(self.sd, SD_FLOOR * signal)
        threshold = threshold.masked_fill(self.count < self.warmup_steps, math.inf)
        self._learn(parts, means, (threshold / parts.norms).clamp(max=1.0))
        return threshold

    def _learn(self, parts: Parts, means: list[Tensor], factors: Tensor) -> None:
        """Take in the gradients of the parts that are usable, times their factors."""
        count = self.count + 1
        weight = newest_weight(self.decay, count.to(factors.dtype))
        grads, each = parts.gradients.grads, broadcast_to_gradients(parts, factors)
        scaled = zip(grads, means, each, strict=True)
        changes = [grad * factor.to(mean) - mean for grad, mean, factor in scaled]
        spreads = (weight * (1 - weight)).sqrt() * _norms(parts, changes)
        sd = torch.hypot((1 - weight).sqrt() * self.sd, spreads)
        usable = broadcast_to_gradients(parts, parts.usable)
        weights = broadcast_to_gradients(parts, weight)
        moves = zip(means, changes, weights, usable, strict=True)
        moved = [
            torch.where(use.to(mean.device), mean + w.to(mean) * change, mean)
            for mean, change, w, use in moves
        ]
        self.mean.write(parts.gradients, parts.partition.parameter_keys, moved)
        self._take(parts.usable, sd=sd, count=count)


def _norms(parts: Parts, values: list[Tensor]) -> Tensor:
    """The norms of the parts of something of the gradients' shapes, as the rule measures them."""
    of = replace(parts.gradients, grads=values)
    return measure_parts(of, parts.partition, parts.norm_type, parts.measure)[0]
