"""Noticing that one history is kept of two sets of parameters, as of a GAN's two networks."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Sequence

from torch import Tensor

from gradclip_core.parts.gradients import Gradients


class _Set:
    """The parameters of one call, which are not kept alive."""

    __slots__ = ("_params", "name")

    def __init__(self, params: Sequence[Tensor], names: Sequence[str | None]) -> None:
        self._params = list(map(weakref.ref, params))
        self.name = names[0] if names else None

    def begins_with(self, param: Tensor) -> bool:
        return bool(self._params) and self._params[0]() is param

    def shares(self, ids: set[int]) -> bool:
        """Whether one of these parameters is one of them, of which the ids are given."""
        return any(id(held()) in ids for held in self._params)


class Turns:
    """Warns once if a clipper that learns is called with one set of parameters, another, the first.

    Layers that are frozen, unfrozen or added are still the same set, and with `by` parameters,
    rows or modules so are other layers by names of their own, whose histories are their own.
    """

    __slots__ = ("_before", "_last", "_warned")

    def __init__(self) -> None:
        self._last = _Set([], [])
        self._before = _Set([], [])
        self._warned = False

    def look(self, gradients: Gradients, clipper: str, *, by_model: bool) -> None:
        """Take in the parameters of a call of a clipper with this name."""
        params = gradients.params
        if self._warned or not params or self._last.begins_with(params[0]):
            return
        ids = set(map(id, params))
        if not self._last.shares(ids):
            own = gradients.names[0] not in (None, self._last.name)
            self._warned = self._before.shares(ids) and (by_model or not own)
            self._before = self._last
        self._last = _Set(params, gradients.names)
        if self._warned:
            warnings.warn(
                f"a {clipper} with a threshold that learns is called with two sets of parameters "
                "in turn, so that the norms of both make one history: make one clipper for each "
                "(copy.deepcopy(clipper))",
                UserWarning,
                stacklevel=2,
            )

    def __reduce__(self) -> tuple[type[Turns], tuple[()]]:
        return Turns, ()  # a copy may be for other parameters
