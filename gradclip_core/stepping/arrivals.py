"""Noticing gradients that somebody else has clipped before the clipper sees them."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor
from torch.optim import Optimizer

from gradclip_core.parts.collect import collect
from gradclip_core.parts.norms import parameter_norms, total

_LOOKS = (4, 8, 16)  # the steps after which the norms are compared; none is measured after the last
_LEAST = 4  # norms that have to be one
_SAME, _OTHER = 1e-4, 1e-2


class Arrivals:
    """Warns once if the gradients of an optimizer arrive clipped, as by a Trainer's own setting.

    A clipped norm never passes its bound and often equals it, while the gradients differ: at
    least four of the first norms are their maximum, to a relative 1e-4, and the norms of another
    order of the same steps spread by over 1e-2. Reads three booleans from a device in all; sharded
    gradients and those on `meta` are not looked at.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._norms: list[Tensor] = []  # of the orders 2 and inf, (2,) for each step
        self._done = False

    @torch.no_grad()
    def look(self) -> None:
        """Take in the gradients of a step."""
        if self._done:
            return
        gradients = collect(self._optimizer)
        if not gradients.grads or any(gradients.layouts) or gradients.device.type == "meta":
            return
        orders = (2.0, torch.inf)
        norms = [total(parameter_norms(gradients, order), order) for order in orders]
        self._norms.append(torch.stack(norms))
        if len(self._norms) in _LOOKS and bool(_look_clipped(torch.stack(self._norms))):
            self._done = True
            warnings.warn(
                f"gradients arrive at the clipper of {type(self._optimizer).__name__} with one "
                "norm, step after step, as if they were clipped before: turn the other clipping "
                "off (max_grad_norm, gradient_clip_val, clip_grad_norm_)",
                UserWarning,
                stacklevel=2,
            )
        self._done |= len(self._norms) == _LOOKS[-1]


def _look_clipped(norms: Tensor) -> Tensor:
    """Whether one column of (steps, 2) stays at its maximum where the other moves; 0-d bool."""
    largest = norms.amax(0)
    at_bound = (norms >= largest * (1 - _SAME)) & (norms > 0)
    others = norms.flip(1)
    low = torch.where(at_bound, others, torch.inf).amin(0)
    high = torch.where(at_bound, others, 0).amax(0)
    return ((at_bound.sum(0) >= _LEAST) & (high > low * (1 + _OTHER))).any()
