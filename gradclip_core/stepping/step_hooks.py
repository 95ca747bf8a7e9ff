"""The beginning and the end of an optimizer's step, told once for each step that is one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

Enter: TypeAlias = Callable[[Any, Any, Any], Any]
Leave: TypeAlias = Callable[[], None]


class StepHooks:
    """Calls `enter` when the optimizer's `step()` begins and `leave` when it has ended.

    enter: takes and returns what a step pre-hook of torch does. leave: takes nothing.

    torch calls the hooks of a step once for every class of the optimizer whose `step` it has
    wrapped: a `step` that calls `super().step()` enters them twice. Only the outermost counts
    here. A step that nothing can follow from is none: learning rate and gradients all zero, as
    `torch.distributed.checkpoint` makes one to have an optimizer's state allocated.
    """

    def __init__(
        self, optimizer: Optimizer, *, enter: Enter | None = None, leave: Leave | None = None
    ) -> None:
        self._on_enter, self._on_leave = enter, leave
        self._outer: FrameType | None = None  # torch's wrapper around the step under way
        optimizer = hooked(optimizer)
        self._handles = [
            optimizer.register_step_pre_hook(self._enter),
            optimizer.register_step_post_hook(self._leave),
        ]

    @property
    def inside(self) -> bool:
        """Whether a step is under way."""
        return self._outer is not None and _runs_in(self._outer, sys._getframe(1))

    def remove(self) -> None:
        """Watch the optimizer no longer."""
        self._outer = None
        while self._handles:
            self._handles.pop().remove()

    def _enter(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        if self.inside:
            return None
        self._outer = None  # of a step that broke off
        if _is_idle(optimizer):
            return None
        self._outer = sys._getframe(1)
        return None if self._on_enter is None else self._on_enter(optimizer, args, kwargs)

    def _leave(self, *_: Any) -> None:
        if self._outer is None or sys._getframe(1) is not self._outer:
            return
        self._outer = None
        if self._on_leave is not None:
            self._on_leave()


def hooked(optimizer: Any) -> Optimizer:
    """The optimizer that makes the step, below the wrappers of Accelerate and Lightning.

    Raises TypeError for an object whose `step()` calls no hooks.
    """
    inner = optimizer
    while isinstance(getattr(inner, "optimizer", None), Optimizer):
        inner = inner.optimizer
    if isinstance(inner, Optimizer) and hasattr(inner, "_optimizer_step_pre_hooks"):
        return inner
    cure = "attach the clipper to the optimizer that it wraps"
    if isinstance(optimizer, nn.Module):
        cure = "it is a module, whose optimizer is meant"
    raise TypeError(
        f"{type(optimizer).__name__} is no optimizer whose step() calls hooks, as those of torch "
        f"do: {cure}"
    )


def _runs_in(outer: FrameType, frame: FrameType | None) -> bool:
    """Whether a call is made from within another one that is still running."""
    while frame is not None and frame is not outer:
        frame = frame.f_back
    return frame is not None


def _is_idle(optimizer: Optimizer) -> bool:
    """Whether every learning rate and every gradient is zero; looks at those only if the rates are.

    Rates on a device are not read.
    """
    rates = [group.get("lr") for group in optimizer.param_groups]
    if any(_elsewhere(rate) or rate != 0 for rate in rates):
        return False
    params = [param for group in optimizer.param_groups for param in group["params"]]
    return not any(param.grad is not None and _moves(param.grad) for param in params)


def _moves(grad: Tensor) -> bool:
    """Whether any element is not zero; on meta, where nobody knows, it may be."""
    numbers = grad._values() if grad.layout is torch.sparse_coo else grad
    return numbers.is_meta or bool(numbers.count_nonzero())


def _elsewhere(rate: Any) -> bool:
    return isinstance(rate, Tensor) and rate.device.type != "cpu"
