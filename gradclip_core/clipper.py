"""What every clipper is: one call for each optimizer step, a report, and where it is attached."""

from __future__ import annotations

from typing import Any, Self

from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from gradclip_core.parts.gradients import Parameters
from gradclip_core.report import ClipReport


class Clipper(nn.Module):
    """Bounds what one optimizer step does. Call it between `backward()` and `step()`.

    Gradients must be those the step will use: accumulated, and unscaled under AMP. Statistics
    count that call as one step.

    Most clippers need nothing else. Those that look at the model's backward pass, or at the
    optimizer's state or update, are told which with `attach`; `GradientClipping` does that by
    itself. State lives in buffers; what is attached is no part of it, is not copied, and is
    not pickled.
    """

    needs_samples = False  # whether it has a `backward` of its own; see `ClipPerSample`
    acts_in_step = False  # whether the work is done, and the report complete, after `step()`

    def __init__(self) -> None:
        super().__init__()
        self.last_report: ClipReport | None = None
        self._optimizer: Optimizer | None = None
        self._handles: list[RemovableHandle] = []

    def forward(self, parameters: Parameters, *, loss: Tensor | None = None) -> ClipReport:
        """Clip the gradients of a model, optimizer, parameters or named parameters in place.

        loss: the loss of the step, 0-d, for rules that watch it; of this process's samples,
            which such a rule passes through `sharding.joint_mean`.
        """
        raise TypeError(f"{type(self).__name__} must implement forward(parameters)")

    def attach(self, *, model: nn.Module | None = None, optimizer: Optimizer | None = None) -> Self:
        """Work on this model and this optimizer from now on; returns the clipper itself.

        Raises ValueError for a model or an optimizer that the rule cannot serve.
        """
        self.detach()
        self._optimizer = optimizer
        return self

    def fold_into(self, optimizer: Optimizer, scaler: GradScaler | None = None) -> bool:
        """Let a fused optimizer scale the gradients in its step, in place of this clipper.

        scaler: the GradScaler of the loop, if there is one: without `scaler.unscale_` the clipper
            measures the gradients that are behind the loss scale, and the step takes it out.
        Returns whether it will; a clipper whose response is not one factor never does, and then
        `scaler.unscale_` comes before the clipper.
        """
        return False

    def detach(self) -> None:
        """Take back every hook that `attach` placed."""
        self._optimizer = None
        while self._handles:
            self._handles.pop().remove()

    def _keep(self, report: ClipReport) -> None:
        """Make a report the last one; past nn.Module, whose way takes as long as a small clip."""
        self.__dict__["last_report"] = report

    def _attached(self) -> Optimizer:
        if self._optimizer is None:
            raise ValueError(
                f"{type(self).__name__} needs the optimizer: call "
                "clipper.attach(optimizer=optimizer) first"
            )
        return self._optimizer

    def __getstate__(self) -> dict[str, Any]:
        # Hooks belong to one model and one optimizer, and a report to one step.
        return self.__dict__ | {"_handles": [], "_optimizer": None, "last_report": None}
