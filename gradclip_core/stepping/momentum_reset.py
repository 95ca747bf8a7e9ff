"""Forgetting an optimizer's moments now and then, and letting its learning rate rise again."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from gradclip_core.checks import check_integer
from gradclip_core.short_help import ShortHelpModule

_MOMENTS = (
    "exp_avg",
    "exp_avg_sq",
    "max_exp_avg_sq",
    "square_avg",
    "acc_delta",
    "grad_avg",
    "momentum_buffer",
)


class MomentumReset(ShortHelpModule):
    """Every `every` steps sets an optimizer's moments to zero; None never does.

    restart: whether its step count begins anew as well, and with it the bias correction.
    The number of steps is kept on the host and saved with the state.
    """

    def __init__(self, every: int | None, *, restart: bool) -> None:
        super().__init__()
        if every is not None:
            every = check_integer("reset_every", every, others=" or None")
        self.every = every
        self.restart = restart
        self.steps = 0

    @property
    def since(self) -> int:
        """Steps since the last reset, or since the start."""
        return self.steps if self.every is None else self.steps % self.every

    @property
    def happened(self) -> bool:
        """Whether there was a reset yet."""
        return self.every is not None and self.steps >= self.every

    def forward(self, optimizer: Optimizer | None) -> None:
        """Count a step that is to come; forget the moments if it is the turn."""
        self.steps += 1
        if optimizer is None or not self.happened or self.since > 0:
            return
        for state in optimizer.state.values():
            for name in _MOMENTS:
                if isinstance(state.get(name), torch.Tensor):
                    state[name].zero_()
            if self.restart:
                state["step"].zero_()
            if self.restart and "mu_product" in state:
                state["mu_product"].fill_(1.0)

    def get_extra_state(self) -> dict[str, int]:
        """The number of steps."""
        return {"steps": self.steps}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_extra_state` returned."""
        self.steps = state["steps"]


def warm_up(since: int, length: int) -> float:
    """The share of the learning rate so many steps after a reset: a cosine from 0.01 to 1."""
    if since >= length:
        return 1.0
    return 1 - 0.99 * (1 + math.cos(math.pi * (since + 1) / (length + 1))) / 2


def scaled_rates(optimizer: Optimizer, factor: float) -> Callable[[], None]:
    """Multiply the learning rates; return what puts them back."""
    rates = [group["lr"] for group in optimizer.param_groups]

    def restore() -> None:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * factor
    return restore
