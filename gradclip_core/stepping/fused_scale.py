"""Folding: a fused optimizer scales the gradients itself while it reads them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import chain
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer

from gradclip_core.parts.gradients import Gradients
from gradclip_core.stepping.during_step import DuringStep
from gradclip_core.stepping.loss_scale import ScalerScale, StepScale
from gradclip_core.stepping.step_skip import has_momentum

# Elements from which folding gains beside the compiled kernel: fewer are still in the cache when
# they are scaled, and a fused step that scales and stores them takes longer.
LEAST = 3_000_000

_MISSING = object()
_dtype = attrgetter("dtype")


class FusedScale:
    """Hands one factor for all gradients to a fused optimizer, for its next `step()`.

    Fused Adam, AdamW, SGD and Adagrad divide the gradients by `optimizer.grad_scale`, which
    saves reading and writing them once more. What a user or a GradScaler has set there is
    combined with ours during the step and put back after it. The kernel stores the scaled
    gradients: `param.grad` is clipped after the step, not before it.

    scaler: the GradScaler whose loss scale the gradients carry until the step; None: none do.
    """

    def __init__(self, optimizer: Optimizer, scaler: GradScaler | None = None) -> None:
        self._optimizer = optimizer
        self._during = DuringStep(optimizer)
        self._on_step = StepScale(optimizer)
        self._on_scaler = None if scaler is None else ScalerScale(optimizer, scaler)
        self._carried: StepScale | ScalerScale | None = None
        self._sure = False  # whether it is known that the step takes these gradients
        self._owed: Tensor | None = None  # by what the step is to divide beside our factor

    def begin(self, gradients: Gradients, *, keep_scale: bool) -> Tensor | None:
        """Take back what an earlier call left to a step; the loss scale that is left to this one.

        None where the gradients carry none, or if they may not keep it: they have none then.
        """
        self._carried = self._owed = None
        self._sure = False
        self._during.set(None)
        if self._on_scaler is not None:
            has_momentum(self._optimizer)  # the scaler may skip a step, whatever the guard does
        carried = self._on_step if self._during.inside else self._on_scaler
        if carried is None or not gradients.present or (scale := carried.carried()) is None:
            return None
        if not (keep_scale and self.takes(gradients)):
            carried.unscale()
            return None
        self._carried, self._sure = carried, True
        return scale

    def settle(self, finite: Tensor | bool) -> None:
        """Leave the loss scale to the step, if one is left to it; finite: whether gradients are."""
        carried, self._carried = self._carried, None
        if carried is None:
            return
        self._owed = carried.settle(
            finite if isinstance(finite, Tensor) else torch.tensor(finite, device="cpu")
        )
        if self._owed is not None:
            self._set(1.0)

    def takes(self, gradients: Gradients) -> bool:
        """Whether the optimizer would scale exactly these gradients, and rightly.

        It takes a scale in float32, too coarse for float64 and, on CPU, rounded to half
        precision; and its kernel for CPU goes wrong where a gradient lies otherwise in memory
        than its parameter.
        """
        groups = self._optimizer.param_groups
        if any(gradients.layouts) or not all(group.get("fused") for group in groups):
            return False
        theirs = list(chain.from_iterable(group["params"] for group in groups))
        whole = gradients.plain and gradients.is_whole and len(theirs) == len(gradients.params)
        if whole and _all_plain(gradients, theirs):
            return set(map(id, gradients.params)) == set(map(id, theirs))
        ours = {id(gradients.params[position]) for position in gradients.present}
        held = [param for param in theirs if param.grad is not None]
        return ours == set(map(id, held)) and all(map(_plain, held))

    def scale(self, gradients: Gradients, factor: float | Tensor) -> bool:
        """Multiply these gradients in the step under way or to come, if it takes them and gains."""
        takes = self._sure or (_gains(gradients) and self.takes(gradients))
        if takes:
            self._set(factor)
        return takes

    def remove(self) -> None:
        """Leave the optimizer alone from now on."""
        self._during.remove()
        self._on_step.remove()

    def _set(self, factor: float | Tensor) -> None:
        if isinstance(factor, float):
            divisor = torch.tensor(1 / factor, dtype=torch.float32, device="cpu")
        else:
            divisor = (1 / factor).to(torch.float32)
        if self._owed is not None:
            divisor = divisor * self._owed
        self._during.set(functools.partial(_lend, self._optimizer, divisor))


def _gains(gradients: Gradients) -> bool:
    """Whether folding is quicker than the kernel, if that is what would scale these gradients."""
    return gradients.located is None or gradients.located.num_elements() >= LEAST


def _all_plain(gradients: Gradients, params: list[Tensor]) -> bool:
    """Whether contiguous gradients and the parameters are all float32, and these contiguous."""
    dtypes = {*map(_dtype, gradients.grads), *map(_dtype, params)}
    return dtypes == {torch.float32} and all(map(Tensor.is_contiguous, params))


def _plain(param: Tensor) -> bool:
    grad = param.grad
    return (
        grad is not None
        and grad.layout is torch.strided
        and grad.dtype is torch.float32
        and param.dtype is torch.float32
        and grad.stride() == param.stride()
    )


def _lend(optimizer: Any, divisor: Tensor) -> Callable[[], None]:
    """Combine the optimizer's scale with ours; return what puts it back."""
    before: Any = getattr(optimizer, "grad_scale", _MISSING)
    optimizer.grad_scale = divisor.to(before) * before if isinstance(before, Tensor) else divisor

    def restore() -> None:
        if before is _MISSING:
            del optimizer.grad_scale
        else:
            optimizer.grad_scale = before

    return restore
