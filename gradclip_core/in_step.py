"""Clipping inside the `step()` of any optimizer: one line for a loop that somebody else wrote.

clip_in_step(optimizer, ClipNorm(1.0))
"""

from __future__ import annotations

import warnings
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradclip_core.checks import check_instance
from gradclip_core.clipper import Clipper
from gradclip_core.kept_state import KeptState
from gradclip_core.report import ClipReport
from gradclip_core.stepping.arrivals import Arrivals
from gradclip_core.stepping.loss_scale import StepScale
from gradclip_core.stepping.naming import Names, shares_parameters
from gradclip_core.stepping.step_hooks import StepHooks, hooked


class ClippedStep:
    """A clipper in the `step()` of one optimizer, until `detach()` or the end of a `with` block.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipNorm, clip_in_step
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> optimizer = torch.optim.SGD([weight], lr=1.0)
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> with clip_in_step(optimizer, ClipNorm(1.0)) as clipped:
        ...     optimizer.step()
        >>> clipped.last_report.norm.item()
        5.0

    It is what `clip_in_step` returns.

    Args:
        optimizer: whose steps are clipped.
        clipper: what clips them.
    """

    def __init__(self, optimizer: Optimizer, clipper: Clipper) -> None:
        check_instance("clipper", clipper, Clipper)
        self.optimizer = hooked(optimizer)
        if clipped_step_of(self.optimizer) is not None:
            raise ValueError(
                f"{type(self.optimizer).__name__} has a clipper in its step already: two would "
                "clip twice; detach() the first, or give it a chain of both"
            )
        self.clipper = clipper.attach(optimizer=self.optimizer)
        try:
            self._state = KeptState(self.optimizer, clipper)
        except ValueError:
            clipper.detach()
            raise
        self._names = Names()
        self._left: ClipReport | None = None  # the report of the latest step
        self._called = False  # whether the loop was told that it calls the clipper as well
        self._arrivals = Arrivals(self.optimizer)
        self._scale = None if clipper.fold_into(self.optimizer) else StepScale(self.optimizer)
        self._hooks = StepHooks(self.optimizer, enter=self._before_step)
        self.optimizer._clipped_step = self  # type: ignore[attr-defined]

    @property
    def last_report(self) -> ClipReport | None:
        """What the latest step did; None before the first."""
        return self.clipper.last_report

    def attach(self, *, model: nn.Module) -> Self:
        """Give the parameters the names that they have in a model, for rules and reports.

        Warns (UserWarning) where none of the optimizer's parameters is one of the model's; raises
        what `Clipper.attach` does.
        """
        self.clipper.attach(model=model)
        self._names(model, self.optimizer)  # keeps a model that is made for its names alone
        if not shares_parameters(model, self.optimizer):
            warnings.warn(
                f"no parameter of {type(self.optimizer).__name__} is one of this "
                f"{type(model).__name__}, whose names are of no use: attach the model that it "
                "trains, not a copy",
                UserWarning,
                stacklevel=2,
            )
        return self

    def detach(self) -> None:
        """Leave the optimizer as it was; its next step is not clipped.

        Examples:
            >>> import torch
            >>> from gradclip_core import ClipNorm, clip_in_step
            >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
            >>> clip_in_step(optimizer, ClipNorm(1.0)).detach()
            >>> clipped = clip_in_step(optimizer, ClipNorm(2.0))  # the first one is gone
        """
        self._hooks.remove()
        self._state.remove()
        if self._scale is not None:
            self._scale.remove()
        if self.clipper._optimizer is self.optimizer:
            self.clipper.detach()
        if clipped_step_of(self.optimizer) is self:
            del self.optimizer._clipped_step  # type: ignore[attr-defined]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.detach()

    def _before_step(self, _: Optimizer, args: Any, kwargs: Any) -> Any:
        """Clip before the step, or after each evaluation of its closure."""
        if self.clipper._optimizer is not self.optimizer:  # somebody has detached it
            self.detach()
            return None
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            self._clip()
            return None
        _refuse_trainer(closure)

        def clips() -> Any:
            with torch.enable_grad():
                loss = closure()
            self._clip(loss)
            return loss

        rest = {name: value for name, value in kwargs.items() if name != "closure"}
        return (args[0], clips, *args[2:]), rest

    def _clip(self, loss: Any = None) -> None:
        if self._scale is not None:  # else the clipper leaves the loss scale to the step
            self._scale.unscale()
        self._arrivals.look()
        model = self.clipper._attached_model()
        parameters = self.optimizer if model is None else self._names(model, self.optimizer)
        self._look_for_calls()
        self.clipper(parameters, loss=loss.detach() if isinstance(loss, Tensor) else None)
        self._left = self.clipper.last_report

    def _look_for_calls(self) -> None:
        """Warn once if the loop calls the clipper as well, since the last step."""
        clipper = self.clipper
        by_step_alone = self._left is None or clipper.last_report is self._left
        if by_step_alone or clipper.acts_in_step or self._called:
            return
        self._called = True
        warnings.warn(
            f"the {type(clipper).__name__} in the step of {type(self.optimizer).__name__} is "
            "called by the loop too, so that it clips and counts twice: leave the call out",
            UserWarning,
            stacklevel=2,
        )


def clip_in_step(optimizer: Optimizer, clipper: Clipper) -> ClippedStep:
    """Let an optimizer clip at the beginning of each of its steps; returns what undoes that.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipNorm, clip_in_step
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        >>> clipped = clip_in_step(optimizer, ClipNorm(1.0)).attach(model=model)
        >>> model(torch.ones(4, 2)).sum().backward()
        >>> optimizer.step()
        >>> clipped.last_report.worst_parameter
        'weight'

    Args:
        optimizer: an instance of any optimizer of torch, or of one that follows its protocol
            (`step` hooks); below a wrapper of Accelerate or Lightning it is the inner one. With a
            closure it clips after every evaluation, with the loss that it returns.
        clipper: any clipper; its state is in the optimizer's `state_dict()` from now on.

    Gradients that carry the scale of a GradScaler, as fused optimizers take them, are measured
    without it. A copy of the optimizer is an ordinary one. Warns once where gradients arrive
    clipped by somebody else.

    Raises TypeError for an optimizer whose `step()` calls no hooks, ValueError for one that has a
    clipper already, and for a clipper that is attached to another optimizer or cannot serve it.
    """
    return ClippedStep(optimizer, clipper)


def clipped_step_of(optimizer: Optimizer) -> ClippedStep | None:
    """The clipper in an optimizer's step; None where there is none."""
    found: ClippedStep | None = getattr(optimizer, "_clipped_step", None)
    return found


def _refuse_trainer(closure: Any) -> None:
    """Raise ValueError if a Lightning Trainer clips too: its module is in the closure it gives."""
    for module in getattr(closure, "args", ()):
        trainer = getattr(module, "trainer", None) if isinstance(module, nn.Module) else None
        value = getattr(trainer, "gradient_clip_val", None)
        if value is not None and value > 0:
            raise ValueError(
                f"gradient_clip_val={value} of the Trainer and the clipper in the optimizer's "
                "step would both clip: remove gradient_clip_val"
            )
