"""Statistics that go from one step to the next by a formula, for tensors and for one number.

Formulas are written once: with the functions here, which take tensors and plain numbers alike.
One part on CPU is followed in plain numbers, at about a hundredth of a small clip.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from gradclip_core.parts.cells import cell
from gradclip_core.parts.norms import Parts
from gradclip_core.thresholds.base import Statistic


class Recurrence(Statistic):
    """A statistic whose state and threshold follow from its last state and this step's norm."""

    @abstractmethod
    def advance(self, norm: Any, *_: Any, **state: Any) -> tuple[Any, dict[str, Any]]:
        """The threshold of this step, and the new values of the state if the norm is usable.

        Norm and state are tensors, (k,), or plain numbers. A number may be 0.
        """

    def forward(self, parts: Parts) -> Tensor:
        """Return the thresholds, (k,), and take in this step's norms."""
        self._allocate(parts)
        state = {name: getattr(self, name) for name in self._initial}
        threshold, values = self.advance(parts.norms, **state)
        self._take(parts.usable, **values)
        result: Tensor = threshold
        return result

    def limit(self, norm: float) -> float:
        """The threshold of the only part; takes in its norm."""
        self._allocate_one()
        cells = {name: cell(getattr(self, name)) for name in self._initial}
        state = {name: entry.value for name, entry in cells.items()}
        threshold, values = self.advance(norm, **state)
        if norm > 0:
            for name, value in values.items():
                cells[name].value = value
        return float(threshold)


def where(condition: Any, yes: Any, no: Any) -> Any:
    """`yes` where the condition holds, else `no`."""
    if isinstance(condition, Tensor):
        return torch.where(condition, yes, no)
    return yes if condition else no


def real(x: Any, like: Any) -> Any:
    """A count or a truth as a number of the precision of `like`."""
    return x.to(like.dtype) if isinstance(x, Tensor) else float(x)


def minimum(a: Any, b: Any) -> Any:
    """The smaller of two."""
    return torch.minimum(a, b) if isinstance(a, Tensor) else min(a, b)


def maximum(a: Any, b: Any) -> Any:
    """The larger of two."""
    return torch.maximum(a, b) if isinstance(a, Tensor) else max(a, b)


def hypot(a: Any, b: Any) -> Any:
    """The square root of the sum of two squares, without overflow."""
    return torch.hypot(a, b) if isinstance(a, Tensor) else math.hypot(a, b)


def sqrt(x: Any) -> Any:
    """The square root."""
    return x.sqrt() if isinstance(x, Tensor) else math.sqrt(x)


def log(x: Any) -> Any:
    """The natural logarithm; -inf of 0."""
    if isinstance(x, Tensor):
        return x.log()
    return math.log(x) if x > 0 else -math.inf


def exp(x: Any) -> Any:
    """The exponential; inf where it is too large."""
    if isinstance(x, Tensor):
        return x.exp()
    return math.exp(x) if x < 709.78 else math.inf
