"""Folding: a fused optimizer scales the gradients itself while it reads them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, Optimizer

from gradclip_core.parts.gradients import Gradients
from gradclip_core.stepping.during_step import DuringStep

_MISSING = object()


class Fold:
    """Hands one factor for all gradients to a fused optimizer, for its next `step()`.

    Fused Adam, AdamW, SGD and Adagrad divide the gradients by `optimizer.grad_scale`, which
    saves reading and writing them once more. A scale of the user's own, or of a GradScaler, is
    multiplied by ours during the step and put back after it. The kernel stores the scaled
    gradients: `param.grad` is clipped after the step, not before it.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._during = DuringStep(optimizer)

    def takes(self, gradients: Gradients) -> bool:
        """Whether the optimizer would scale exactly these gradients, and rightly.

        It takes a scale in float32, too coarse for float64 and, on CPU, rounded to half
        precision; and its kernel for CPU goes wrong where a gradient lies otherwise in memory
        than its parameter.
        """
        ours = {id(gradients.params[position]) for position in gradients.present}
        params = [p for group in self._optimizer.param_groups for p in group["params"]]
        theirs = {id(param): param for param in params if param.grad is not None}
        return (
            not any(gradients.spreads)
            and all(group.get("fused") for group in self._optimizer.param_groups)
            and ours == theirs.keys()
            and all(_plain(param) for param in theirs.values())
        )

    def set(self, factor: float | Tensor | None) -> None:
        """Multiply the gradients of the step under way or to come; None takes that back."""
        change = None
        if factor is not None:
            divisor = (1 / torch.as_tensor(factor)).to(torch.float32)
            change = functools.partial(_divide, self._optimizer, divisor)
        self._during.set(change)

    def remove(self) -> None:
        """Leave the optimizer alone from now on."""
        self._during.remove()


def folds(optimizer: Optimizer) -> bool:
    """Whether an optimizer reads `grad_scale`; others ignore it, some without a word."""
    fused = all(group.get("fused") for group in optimizer.param_groups)
    return fused and isinstance(optimizer, (Adam, SGD, Adagrad))  # AdamW is an Adam


def _plain(param: Tensor) -> bool:
    grad = param.grad
    return (
        grad is not None
        and grad.layout is torch.strided
        and grad.dtype is torch.float32
        and param.dtype is torch.float32
        and grad.stride() == param.stride()
    )


def _divide(optimizer: Optimizer, divisor: Tensor) -> Callable[[], None]:
    """Multiply the optimizer's scale by a divisor; return what puts it back."""
    before: Any = getattr(optimizer, "grad_scale", _MISSING)
    own = before is not None and before is not _MISSING
    optimizer.grad_scale = divisor.to(before) * before if own else divisor  # type: ignore[attr-defined]

    def restore() -> None:
        if before is _MISSING:
            del optimizer.grad_scale  # type: ignore[attr-defined]
        else:
            optimizer.grad_scale = before  # type: ignore[attr-defined]

    return restore
