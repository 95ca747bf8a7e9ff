"""A threshold that is a share of the parameters' own norm."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from gradclip_core.checks import check_finite
from gradclip_core.parts import sharding
from gradclip_core.parts.host_step import HostParts, Numbers
from gradclip_core.parts.measure import measure_parts
from gradclip_core.parts.norms import Parts
from gradclip_core.thresholds.base import Threshold


class Relative(Threshold):
    """A share of the norm of the part's own parameters: with `by="row"` AGC.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipNorm, Relative
        >>> weight = torch.nn.Parameter(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
        >>> weight.grad = torch.ones(2, 2)
        >>> report = ClipNorm(Relative(0.1), by="row", eps=0)([weight])
        >>> report.thresholds.tolist()
        [0.5, 0.1]

    tau_P = factor * max(||W_P||, eps), with the same norm as the gradient's. Source: Brock, De,
    Smith and Simonyan 2021, arXiv:2102.06171, equation 3, who use factor 0.01 for batches of
    4096 and larger ones for smaller batches, clip each unit and leave the last linear layer
    alone: `ClipNorm(Relative(0.01), by="row", eps=0, exclude=...)`. In a part of several
    parameters those without a gradient do not count, as they do not in the gradient's norm.

    eps keeps parameters that are zero from staying zero for ever: their gradient may have a norm
    of factor * eps. No state; one pass over the parameters per step.

    Raises ValueError unless both are finite numbers > 0.

    Args:
        factor: the share, a finite number > 0.
        eps: the least norm of weights that counts, a finite number > 0: weights that are zero may
            have a gradient of norm factor * eps, and so do not stay zero for ever.
    """

    def __init__(self, factor: float = 0.01, eps: float = 1e-3) -> None:
        super().__init__()
        self.factor = check_finite("factor", factor)
        self.eps = check_finite("eps", eps)

    def forward(self, parts: Parts) -> Tensor:
        """The threshold of each part, (k,)."""
        found = parts.gradients
        present = sharding.present_anywhere(found)
        params = [sharding.local(found.params[position].detach()) for position in present]
        weights = replace(found, present=present, grads=params, plain=False)
        norms, _ = measure_parts(weights, parts.partition, parts.norm_type, parts.measure)
        return self.factor * norms.clamp(min=self.eps)

    def host_thresholds(self, parts: HostParts) -> Numbers:
        """The threshold of each part, (k,), or of the only one."""
        norms = parts.weight_norms()
        if isinstance(norms, float):
            return self.factor * max(norms, self.eps)
        return norms.clamp_(min=self.eps).mul_(self.factor)

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"factor={self.factor:g}, eps={self.eps:g}"
