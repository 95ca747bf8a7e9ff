"""The clipping whose rates Zhang et al. 2020 (arXiv:1912.03194) prove."""

from __future__ import annotations

import torch
from torch import Tensor

from gradclip_core import ClipNorm, ClipValue, Threshold
from gradclip_core.parts.norms import Parts


class Growing(Threshold):
    """A threshold that grows as a power of the step: threshold * k^(1/alpha), k = 1, 2, ...

    Zhang et al. 2020, theorem on strongly convex functions, whose noise has a finite moment alpha.
    Raises ValueError unless threshold > 0 and 1 < alpha <= 2.
    """

    step: Tensor

    def __init__(self, threshold: float, alpha: float) -> None:
        super().__init__()
        if not threshold > 0:
            raise ValueError(f"threshold must be a number > 0, got {threshold}")
        if not 1 < alpha <= 2:
            raise ValueError(f"alpha must be > 1 and <= 2, got {alpha}")
        self.threshold = threshold
        self.alpha = alpha
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, parts: Parts) -> Tensor:
        """The threshold of this step, 0-d."""
        self.step = self.step + 1
        grown: Tensor = self.threshold * self.step.to(parts.norms) ** (1 / self.alpha)
        return grown


def gclip(threshold: float, alpha: float) -> ClipNorm:
    """GClip: the gradient of each replication scaled to a norm of `Growing`."""
    return ClipNorm(Growing(threshold, alpha), by="row")


def cclip(threshold: float, alpha: float) -> ClipValue:
    """CClip: each coordinate clamped to `Growing`."""
    return ClipValue(Growing(threshold, alpha))
