"""Statistics that go from one step to the next by a formula, for tensors and for one number.

Formulas are written once: with the functions here, which take tensors and plain numbers alike.
One part on CPU is followed in plain numbers, at about a hundredth of a small clip.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from gradclip_core.parts.host_step import HostParts
from gradclip_core.parts.norms import Parts
from gradclip_core.thresholds.base import Statistic

Rows: TypeAlias = tuple[Any, ...]


class Recurrence(Statistic):
    """A statistic whose state and threshold follow from its last state and this step's norm."""

    @abstractmethod
    def advance(self, norm: Any, *_: Any, **state: Any) -> tuple[Any, dict[str, Any]]:
        """The threshold of this step, and the new values of the state if the norm is usable.

        Norm and state are tensors, (k,), or plain numbers. A number may be 0.
        """

    def forward(self, parts: Parts) -> Tensor:
        """Return the thresholds, (k,), and take in this step's norms."""
        return self._advanced(parts)

    def _advanced(self, parts: Parts, **more: Any) -> Tensor:
        """The same, with more for `advance` to know."""
        self._allocate(parts)
        state = {name: getattr(self, name) for name in self._initial}
        threshold, values = self.advance(parts.norms, **state, **more)
        self._take(parts.usable, **values)
        result: Tensor = threshold
        return result

    def host_thresholds(self, parts: HostParts) -> float:
        """The threshold of the only part; takes in its norm."""
        norm = parts.one_norm()
        numbers, names = self._numbers(), self._view.names
        state = {name: row[0] for name, row in zip(names, numbers, strict=True)}
        threshold, values = self.advance(norm, **state)
        if norm > 0:
            for name, row in zip(names, numbers, strict=True):
                row[0] = values[name]
        return float(threshold)


# Numbers are asked for first, and by truth or type alone: they are what has to be quick.


def where(condition: Any, yes: Any, no: Any) -> Any:
    """`yes` where the condition holds, else `no`."""
    if condition is True:
        return yes
    return no if condition is False else torch.where(condition, yes, no)


def either(condition: Any, yes: Callable[[], Rows], no: Callable[[], Rows]) -> Rows:
    """Several numbers where the condition holds, else others: only those needed are made."""
    if condition is True or condition is False:
        return yes() if condition else no()
    return tuple(torch.where(condition, a, b) for a, b in zip(yes(), no(), strict=True))


def real(x: Any, like: Any) -> Any:
    """A count or a truth as a number of the precision of `like`."""
    return x.to(like.dtype) if isinstance(x, Tensor) else float(x)


def newest_weight(decay: float, count: Any) -> Any:
    """The share of the newest of `count` values in a bias-corrected exponential average.

    At most 1: where a processor rounds decay^1 up it would be more, and the root of 1 - share NaN.
    """
    share = (1 - decay) / (1 - decay**count)
    if type(share) is float:
        return share if share < 1.0 else 1.0
    return share.clamp(max=1.0)


def minimum(a: Any, b: Any) -> Any:
    """The smaller of two."""
    if type(a) is float:
        return b if b < a else a
    return torch.minimum(a, b)


def maximum(a: Any, b: Any) -> Any:
    """The larger of two."""
    if type(a) is float:
        return b if b > a else a
    return torch.maximum(a, b)


def hypot(a: Any, b: Any) -> Any:
    """The square root of the sum of two squares, without overflow."""
    return math.hypot(a, b) if type(a) is float else torch.hypot(a, b)


def sqrt(x: Any) -> Any:
    """The square root."""
    return math.sqrt(x) if type(x) is float else x.sqrt()


def log(x: Any) -> Any:
    """The natural logarithm; -inf of 0."""
    if type(x) is float:
        return math.log(x) if x > 0 else -math.inf
    return x.log()


def exp(x: Any) -> Any:
    """The exponential; inf where it is too large."""
    if type(x) is float:
        return math.exp(x) if x < 709.78 else math.inf
    return x.exp()


def cos(x: Any) -> Any:
    """The cosine."""
    return math.cos(x) if type(x) is float else x.cos()


def clamp(x: Any) -> Any:
    """What is left between 0 and 1."""
    return min(max(x, 0.0), 1.0) if type(x) is float else x.clamp(0, 1)
