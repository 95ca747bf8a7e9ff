"""Skipping the steps whose loss or gradient norm is a spike."""

from __future__ import annotations

import math
from typing import Unpack

import torch
from torch import Tensor

from gradclip_core.parts.gradients import Gradients, Parameters
from gradclip_core.parts.norms import NormType, Parts, scalar_dtype
from gradclip_core.parts.partition import WHOLE, Partition
from gradclip_core.parts.sharding import joint_mean
from gradclip_core.report import ClipReport
from gradclip_core.rules.norm_rule import NormRule
from gradclip_core.rules.settings import RuleSettings
from gradclip_core.thresholds import ClippedEma, Threshold, as_threshold


class SkipOnSpike(NormRule):
    """Drops the steps whose loss, or the norm of whose gradient, is over its threshold.

    Examples:
        >>> import torch
        >>> from gradclip_core import SkipOnSpike
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> clipper = SkipOnSpike(loss=2.0, norm=10.0)
        >>> clipper([weight], loss=torch.tensor(1.0)).skipped.item()
        False
        >>> clipper([weight], loss=torch.tensor(7.0)).skipped.item()
        True

    With `WindowZScore(6.0)` for both it is the rule of OLMo-core's `SkipStepOptimizer` (on its
    upper side): a step is skipped if loss or norm is over the mean plus 6 standard deviations of
    the last 128, once there are 64. The current values take no part in their own threshold, but
    enter the window afterwards, as there; non-finite ones never do, though a loss that is not
    finite is a spike. A skipped step has no gradients, so that `step()` changes nothing.

    Args:
        loss: the threshold of the loss: a number > 0 or a `Threshold`. Losses may be negative with
            `WindowZScore` alone.
        norm: the threshold of the norm of the whole gradient, in the same way; inf watches the loss
            alone.
        max_skips: after so many skipped steps in a row the next is made whatever its loss is, and
            clipped if its norm is over; None skips any number.
        norm_type: order p of the norm, any number > 0 or inf.
        exclude: regular expression; parameters whose name it matches anywhere are neither measured
            nor clipped. Needs names.
        min_ndim: parameters with fewer dimensions are left alone in the same way; 2: biases,
            scales.
        nonfinite: what happens to a step whose gradient holds NaN or inf: "skip" removes its
            gradients, "raise" stops and names the parameters, "zero" sets the bad elements to zero,
            "pass" lets them through; see `Guard`.
        patience: number of such steps in a row at which NonFiniteGradientError is raised; None
            bears any number.

    Needs the loss: `clipper(model, loss=loss)`; `GradientClipping` hands it over. Under
    `torch.distributed` it is averaged over the ranks, so that all decide alike. A step skipped
    for its loss alone counts as skipped, not as clipped. Costs one host read a step on CUDA.
    State: that of the thresholds and three integers.
    """

    modifies_gradients = False  # on gradients: it drops whole steps, most of them for their loss

    def __init__(
        self,
        loss: float | Threshold,
        norm: float | Threshold = math.inf,
        *,
        max_skips: int | None = 10,
        norm_type: NormType = 2.0,
        **settings: Unpack[RuleSettings],
    ) -> None:
        super().__init__(
            as_threshold("norm", norm),
            norm_type=norm_type,
            response="skip",
            max_skips=max_skips,
            **settings,
        )
        self.loss = as_threshold("loss", loss)
        if any(isinstance(part, ClippedEma) for part in self.loss.modules()):
            raise ValueError("loss must not be a ClippedEma, since no loss is clipped: take Ema")
        self._loss: Tensor | None = None

    def forward(self, parameters: Parameters, *, loss: Tensor | None = None) -> ClipReport:
        """Skip or pass the step; raises ValueError without its loss."""
        self._loss = loss
        try:
            return super().forward(parameters, loss=loss)
        finally:
            self._loss = None

    def limits(self, parts: Parts) -> Tensor:
        """The threshold of the norm, (1,)."""
        if self._loss is None:
            raise ValueError("SkipOnSpike watches the loss: call clipper(model, loss=loss)")
        return super().limits(parts)

    def drops(self, over: Tensor) -> bool:
        """Whether to skip the step, for its norm or its loss."""
        return super().drops(torch.cat([over, self._loss_spikes(over.device)]))

    def _loss_spikes(self, device: torch.device) -> Tensor:
        value = _whole_loss(self._loss, device)
        partition = Partition(((0,),), 1, keys=(WHOLE,))
        threshold: Tensor = self.loss(Parts(value, value.isfinite(), partition, Gradients()))
        return ~((value <= threshold) & value.isfinite())


def _whole_loss(loss: Tensor | None, device: torch.device) -> Tensor:
    """The loss as a float64 of shape (1,), the mean over all processes."""
    given = loss if isinstance(loss, Tensor) else torch.tensor(loss, device="cpu")
    value = joint_mean(given.detach())
    if value.numel() != 1:
        raise ValueError(f"loss must be one number, got a tensor of shape {tuple(value.shape)}")
    return value.to(device, scalar_dtype(device), non_blocking=True).reshape(1)
