"""Skipping an optimizer's step by a flag on the device, which the host never reads."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.optim import SGD, Adagrad, Adam, Optimizer

from gradclip_core.parts.gradients import Gradients
from gradclip_core.stepping.during_step import DuringStep
from gradclip_core.stepping.step_hooks import StepHooks

_MISSING = object()


class StepSkip:
    """Makes the next step of a fused optimizer change nothing where a flag says so.

    Fused Adam, AdamW, SGD and Adagrad make no step where `optimizer.found_inf` is 1, a tensor on
    the device. What a user or a GradScaler has set there counts too, and is put back after the
    step. There is one for each optimizer, and the flags of all who share it add up.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer: Any = optimizer
        self._during = DuringStep(optimizer)
        self._flags: dict[int, Tensor] = {}
        self._hooks = StepHooks(optimizer, leave=self._flags.clear)
        self._owners: set[int] = set()

    @classmethod
    def shared(cls, optimizer: Any, owner: object) -> StepSkip | None:
        """That of an optimizer, until `release`; None where it reads no such flag."""
        if not reads_flags(optimizer):
            return None
        if not hasattr(optimizer, "_step_skip"):
            optimizer._step_skip = cls(optimizer)
        found: StepSkip = optimizer._step_skip
        found._owners.add(id(owner))
        return found

    def release(self, owner: object) -> None:
        """Leave the optimizer alone once nobody shares it."""
        self.set(owner, None)
        self._owners.discard(id(owner))
        if not self._owners and hasattr(self._optimizer, "_step_skip"):
            self._during.remove()
            self._hooks.remove()
            del self._optimizer._step_skip

    def takes(self, gradients: Gradients) -> bool:
        """Whether the step is made of exactly these gradients, and can be skipped as the first."""
        groups = self._optimizer.param_groups
        if any(gradients.layouts) or not all(group.get("fused") for group in groups):
            return False
        params = chain.from_iterable(group["params"] for group in groups)
        held = {id(param) for param in params if param.grad is not None}
        ours = {id(gradients.params[position]) for position in gradients.present}
        return ours == held and has_momentum(self._optimizer)

    def set(self, owner: object, flag: Tensor | None) -> None:
        """Skip the step to come where this is true, 0-d bool; None takes back what was set."""
        if flag is None:
            self._flags.pop(id(owner), None)
        else:
            self._flags[id(owner)] = flag
        self._during.set(self._lend if self._flags else None)

    def _lend(self) -> Callable[[], None]:
        optimizer = self._optimizer
        before = getattr(optimizer, "found_inf", _MISSING)
        flags = [flag.to(torch.float32) for flag in self._flags.values()]
        if isinstance(before, Tensor):
            flags.append(before.to(flags[0]))
        optimizer.found_inf = torch.stack([flag.view(()) for flag in flags]).amax()

        def restore() -> None:
            if before is _MISSING:
                del optimizer.found_inf
            else:
                optimizer.found_inf = before

        return restore


def reads_flags(optimizer: Optimizer) -> bool:
    """Whether an optimizer reads `grad_scale` and `found_inf`; others ignore both in silence."""
    fused = all(group.get("fused") for group in optimizer.param_groups)
    return fused and isinstance(optimizer, (Adam, SGD, Adagrad))  # AdamW is an Adam


def has_momentum(optimizer: Optimizer) -> bool:
    """See to it that a step may be skipped though it is the first of an SGD with momentum.

    It would leave the buffers as they were allocated. Zeros make the first step what it is, but
    with dampening, which the first step alone leaves out: False.
    """
    if not isinstance(optimizer, SGD):
        return True
    for group in optimizer.param_groups:
        made = [param for param in group["params"] if not is_lazy(param)]
        states = [optimizer.state[param] for param in made] if group["momentum"] else []
        for param, state in zip(made, states, strict=False):
            if state.get("momentum_buffer") is None and group["dampening"]:
                return False
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(param)
    return True
