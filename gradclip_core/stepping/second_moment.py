"""The second moment that an optimizer keeps of each parameter's gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Adadelta, Adagrad, Adam, AdamW, NAdam, Optimizer, RAdam, RMSprop

from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.sharding import local

_KEYS: dict[type[Optimizer], str] = {
    Adam: "exp_avg_sq",
    AdamW: "exp_avg_sq",
    NAdam: "exp_avg_sq",
    RAdam: "exp_avg_sq",
    RMSprop: "square_avg",
    Adadelta: "square_avg",
}
SERVED = ", ".join(kind.__name__ for kind in _KEYS)


def key_of(optimizer: Optimizer) -> str | None:
    """The name of the second moment in an optimizer's state; None where it keeps none.

    A moving average of the squared gradient: Adagrad's sum never forgets and does not count.
    """
    return next((key for kind, key in _KEYS.items() if isinstance(optimizer, kind)), None)


def check_served(rule: str, optimizer: Optimizer | None) -> Optimizer:
    """Return the optimizer; raise ValueError unless it keeps a second moment."""
    if optimizer is None or key_of(optimizer) is None:
        given = "none" if optimizer is None else type(optimizer).__name__
        raise ValueError(
            f"{rule} reads the second moment of its optimizer and serves {SERVED}; got {given}"
        )
    return optimizer


def groups_of(optimizer: Optimizer) -> dict[int, dict[str, Any]]:
    """The parameter group of each parameter, by the parameter's id."""
    return {id(param): group for group in optimizer.param_groups for param in group["params"]}


def second_moment(optimizer: Optimizer, param: Tensor) -> Tensor | None:
    """The second moment v of a parameter as it is kept, of its shape; None before it exists.

    Of a DTensor that of the local shard.
    """
    moment: Tensor | None = optimizer.state.get(param, {}).get(key_of(optimizer))
    return None if moment is None else local(moment)


def unbiased_moment(optimizer: Optimizer, param: Tensor, group: dict[str, Any]) -> Tensor | None:
    """The second moment by which the optimizer divides; None before it exists.

    v / (1 - beta2^t), except that RMSprop and Adadelta do not correct theirs.
    """
    moment = second_moment(optimizer, param)
    if moment is None or "betas" not in group:
        return moment
    steps: Tensor = optimizer.state[param]["step"].double()
    correction = 1 - torch.pow(group["betas"][1], steps)
    return moment / correction.to(moment)


def mark_overflow(gradients: Gradients, optimizer: Optimizer) -> None:
    """Make infinite what has an infinite square in its own dtype, in place.

    It would stay in a second moment as inf for ever, so that its weight would never move again;
    as inf it is the guard's. Nothing to do where the optimizer squares nothing.
    """
    if key_of(optimizer) is None and not isinstance(optimizer, Adagrad):
        return
    for grad in gradients.grads:
        largest = torch.finfo(grad.dtype).max ** 0.5
        if grad.is_cpu and not grad.is_complex():
            low, high = torch.aminmax(grad)
            if max(-low, high) <= largest:  # in one pass, as nearly always
                continue
        grad.masked_fill_(grad.abs() > largest, torch.inf)
