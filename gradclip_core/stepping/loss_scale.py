"""The loss scale that gradients carry under a GradScaler, and who takes it out of them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.amp import GradScaler
from torch.amp.grad_scaler import OptState
from torch.optim import Optimizer

from gradclip_core.parts.collect import collect
from gradclip_core.stepping.during_step import DuringStep


class StepScale:
    """The scale on a fused optimizer while it steps: its kernel divides the gradients by it.

    A GradScaler puts it there, or a user; it is there again after the step.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._during = DuringStep(optimizer)

    def carried(self) -> Tensor | None:
        """The scale of the gradients, 0-d; None where they carry none."""
        scale: Tensor | None = getattr(self._optimizer, "grad_scale", None)
        return scale

    def unscale(self) -> None:
        """Divide the gradients by their scale now, so that the step under way does not."""
        if (scale := self.carried()) is None:
            return
        for grad in collect(self._optimizer).grads:
            grad.div_(scale.to(grad.device))
        self._during.set(self._without)

    def settle(self, finite: Tensor) -> Tensor | None:
        """Leave it to the step: by what that is to divide beyond what it does by itself."""
        return None

    def remove(self) -> None:
        """Watch the optimizer no longer."""
        self._during.remove()

    def _without(self) -> Callable[[], None]:
        optimizer, scale = self._optimizer, self.carried()
        optimizer.grad_scale = None  # type: ignore[attr-defined]

        def restore() -> None:
            optimizer.grad_scale = scale  # type: ignore[attr-defined]

        return restore


class ScalerScale:
    """The scale that a GradScaler has put on the gradients, between `backward()` and its `step`."""

    def __init__(self, optimizer: Optimizer, scaler: GradScaler) -> None:
        self._optimizer = optimizer
        self._scaler = scaler

    def carried(self) -> Tensor | None:
        """The scale of the gradients, 0-d; None where they carry none, or no longer."""
        if not self._scaler.is_enabled() or self._state["stage"] is not OptState.READY:
            return None
        return self._scaler._get_scale_async()

    def unscale(self) -> None:
        """Divide the gradients by their scale now."""
        self._scaler.unscale_(self._optimizer)

    def settle(self, finite: Tensor) -> Tensor | None:
        """Leave it to the step: by what that is to divide.

        finite: whether all gradients are, 0-d. The scaler is told what it would find out in a
            pass of its own, in `unscale_`, and so makes none.
        """
        scale = self._scaler._get_scale_async()
        assert scale is not None
        self._state["found_inf_per_device"] = {scale.device: (~finite).to(scale)}
        self._state["stage"] = OptState.UNSCALED
        return scale

    @property
    def _state(self) -> dict[str, object]:
        return self._scaler._per_optimizer_states[id(self._optimizer)]
