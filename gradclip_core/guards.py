"""What happens to a step whose gradient is not finite: a policy of its own, beside clipping."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from gradclip_core.checks import check_choice, check_integer
from gradclip_core.parts import sharding
from gradclip_core.parts.buffer_view import BufferView
from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.norms import parameter_norms, scalar_dtype
from gradclip_core.short_help import ShortHelpModule

Policy: TypeAlias = Literal["skip", "raise", "zero", "pass"]


class NonFiniteGradientError(RuntimeError):
    """A gradient held NaN or inf and the policy says to stop.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipNorm, NonFiniteGradientError
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([1.0, torch.nan])
        >>> try:
        ...     ClipNorm(1.0, nonfinite="raise")([("head", weight)])
        ... except NonFiniteGradientError as error:
        ...     print(error)
        non-finite gradient in head (1 NaN, 0 inf)
    """


class Guard(ShortHelpModule):
    """Applies the policy for NaN and inf, and gives up after too many such steps in a row.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipNorm
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> for policy in ("skip", "zero"):
        ...     weight.grad = torch.tensor([1.0, torch.inf])
        ...     report = ClipNorm(1.0, nonfinite=policy)([weight])
        ...     print(policy, weight.grad, report.skipped.item())
        skip None True
        zero tensor([1., 0.]) False

    `skip` removes the gradients of the step, so that the optimizer's `step()` touches neither
    parameters nor its state nor its step counts; `raise` stops and names the tensors; `zero`
    sets the bad elements to zero and goes on with the rest; `pass` lets them through, as
    `torch.nn.utils.clip_grad_norm_` does. `patience` is the number of non-finite steps in a row
    at which `NonFiniteGradientError` is raised; None bears any number.

    On CPU nothing here costs more than a comparison. On CUDA `skip`, `raise` and any `patience`
    read one boolean per step, `zero` writes every gradient once, `pass` does neither; nor does
    `skip` without `patience` where the rule is attached to a fused optimizer (`StepSkip`), whose
    step is told on the device to change nothing, and the gradients stay where they are.

    Args:
        policy: "skip", "raise", "zero" or "pass", as above.
        patience: number of such steps in a row at which NonFiniteGradientError is raised; None
            bears any number.
    """

    consecutive: Tensor

    def __init__(self, policy: Policy = "skip", patience: int | None = None) -> None:
        super().__init__()
        check_choice("nonfinite", policy, get_args(Policy))
        if patience is not None:
            patience = check_integer("patience", patience, others=" or None")
        self.policy: Policy = policy
        self.patience = patience
        self.register_buffer("consecutive", torch.zeros((), dtype=torch.int64, device="cpu"))
        self._view = BufferView("consecutive")

    def reads_host(self, device: torch.device) -> bool:
        """Whether the policy must know on the host if this step is finite."""
        return device.type == "cpu" or self.policy in ("skip", "raise") or self.patience is not None

    def can_wait(self, device: torch.device) -> bool:
        """Whether it is worth the while, and enough, that a device learns if the step is finite."""
        return device.type != "cpu" and self.policy == "skip" and self.patience is None

    def count(self, finite: bool) -> None:
        """Count a step; raise NonFiniteGradientError when patience has run out."""
        if finite:
            self.consecutive.zero_()
            return
        self.consecutive += 1
        if self.patience is not None and self.consecutive.item() >= self.patience:
            raise NonFiniteGradientError(
                f"gave up after {self.patience} non-finite gradients in a row"
            )

    def count_unread(self, finite: Tensor) -> None:
        """Count a step without reading whether it is finite, 0-d bool; there is no `patience`."""
        self.consecutive.add_(1).mul_(~finite)

    def passed(self) -> None:
        """Count a finite step on CPU."""
        self._view(self._buffers)[0][0] = 0

    def extra_repr(self) -> str:
        """The policy, for printing."""
        return f"policy={self.policy!r}, patience={self.patience}"


def finite_unread(gradients: Gradients) -> Tensor:
    """Whether every element is finite, a 0-d bool on the device that is not read."""
    return parameter_norms(gradients, math.inf).isfinite().all()


def describe_nonfinite(gradients: Gradients, limit: int = 5) -> str:
    """Name the parameters whose gradients are not finite, with their counts of NaN and inf."""
    device = gradients.device
    counts = torch.zeros(2, len(gradients.params), dtype=scalar_dtype(device), device=device)
    for position, grad in zip(gradients.present, gradients.grads, strict=True):
        counts[0, position], counts[1, position] = grad.isnan().sum(), grad.isinf().sum()
    everywhere = [sharding.whole(row, gradients, 1.0).round().int().tolist() for row in counts]
    found = [
        f"{gradients.name(position)} ({nans} NaN, {infs} inf)"
        for position, (nans, infs) in enumerate(zip(*everywhere, strict=True))
        if nans or infs
    ]
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return ", ".join(found[:limit]) + more


def drop(gradients: Gradients) -> None:
    """Remove the gradients, empty ones too, so that the optimizer passes all parameters by."""
    for param in gradients.params:
        param.grad = None


def zero_nonfinite(gradients: Gradients) -> None:
    """Set NaN and inf elements to zero, in place."""
    for grad in gradients.grads:
        grad.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
