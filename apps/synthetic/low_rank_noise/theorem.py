"""Rate and thresholds with which Yukhimchuk et al. 2026 (arXiv:2605.11838) prove their theorem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from apps.base.task import Optimization
from gradclip_core import ClipNorm, Clipper, ClipValue

Rule: TypeAlias = Literal["clamp", "scale", "norm", "element"]


def clipper(rule: Rule, t: float, steps: int, tail_index: float) -> Clipper:
    """Clips each matrix by itself to t K^(1 / (3a - 2)), for K steps under noise of tail index a.

    rule: `clamp` the singular values, `scale` by the largest of them, scale by the `norm` of all
    elements, or clamp each `element`. Raises ValueError unless t > 0.
    """
    if not t > 0:
        raise ValueError(f"t must be a number > 0, got {t}")
    bound = t * steps ** (1 / (3 * tail_index - 2))
    if rule == "element":
        return ClipValue(bound)
    measure: Literal["norm", "spectral"] = "norm" if rule == "norm" else "spectral"
    response: Literal["clamp", "hard"] = "clamp" if rule == "clamp" else "hard"
    return ClipNorm(bound, by="parameter", measure=measure, response=response)


@dataclass(frozen=True, slots=True)
class TheoremRate(Optimization):
    """An `Optimization` whose rate is the optimizer's times K^(-a / (3a - 2)), all K steps long.

    steps: K. tail_index: a, of the noise.
    """

    steps: int = 1
    tail_index: float = 2.0

    def make_schedule(self, optimizer: Optimizer, num_steps: int) -> LRScheduler:
        """The constant rate of the theorem."""
        factor = self.steps ** (-self.tail_index / (3 * self.tail_index - 2))
        return LambdaLR(optimizer, lambda past: factor)
