"""By how much a part of norm n is scaled under the threshold c."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def hard(norms: Tensor, thresholds: Tensor | float, eps: float) -> Tensor:
    """c / (n + eps) where n > c, else 1."""
    return torch.where(~(norms <= thresholds), thresholds / (norms + eps), 1.0)


def soft(norms: Tensor, thresholds: Tensor) -> Tensor:
    """c / (c + n): always shrinks, and tends to the norm c."""
    return 1 / (1 + _ratio(norms, thresholds))


def tanh(norms: Tensor, thresholds: Tensor) -> Tensor:
    """c tanh(n / c) / n: nearly 1 for n far below c."""
    ratio = _ratio(norms, thresholds)
    return torch.where(ratio == 0, 1.0, ratio.tanh() / ratio)


def huber(norms: Tensor, thresholds: Tensor, sharpness: float) -> Tensor:
    """(1 + (n / c)^q)^(-1/q): tends to the hard response as q grows."""
    ratio = _ratio(norms, thresholds)
    # Divided by max(1, ratio), so that no power overflows.
    low, high = ratio.clamp(max=1), (1 / ratio).clamp(max=1)
    return high * (low**sharpness + high**sharpness) ** (-1 / sharpness)


def normalize(norms: Tensor, thresholds: Tensor) -> Tensor:
    """c / n, so that the norm is c; 1 where n is 0 or there is no threshold."""
    factors = torch.where((norms == 0) | thresholds.isinf(), 1.0, thresholds / norms)
    # Gradients that all but vanish: a factor beyond float32 would make them infinite.
    return factors.clamp(max=torch.finfo(torch.float32).max)


def _ratio(norms: Tensor, thresholds: Tensor) -> Tensor:
    return torch.where(norms == 0, 0.0, norms / thresholds)


SMOOTH: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "soft": soft,
    "tanh": tanh,
    "normalize": normalize,
}
