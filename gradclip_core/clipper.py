"""What every clipper is: one call for each optimizer step, a report, and where it is attached."""

from __future__ import annotations

import copy
import warnings
import weakref
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo
from torch.amp import GradScaler
from torch.optim import Optimizer

from gradclip_core.checks import takes
from gradclip_core.parts.gradients import HandedOn, Parameters
from gradclip_core.parts.names import check_module
from gradclip_core.report import ClipReport
from gradclip_core.short_help import ShortHelpModule
from gradclip_core.stepping.no_effect import IDLE_CALLS, warn_of_no_gradient, warn_of_steps
from gradclip_core.stepping.step_hooks import StepHooks, hooked

_OUTSIDE, _INSIDE = 0, 1
# Whether a clipper's state is being collected, of which that of others may be a part; else the id
# of the mapping into which that of the last one went, and how many of its keys are of clippers.
_clippers_keys: ContextVar[tuple[int, int]] = ContextVar("keys", default=(_OUTSIDE, 0))


class Clipper(ShortHelpModule):
    """Bounds what one optimizer step does. Call it between `backward()` and `step()`.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipNorm, Clipper
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> class Halved(Clipper):
        ...     def __init__(self, clipper):
        ...         super().__init__()
        ...         self.clipper = clipper
        ...     def forward(self, parameters, *, loss=None):
        ...         self.last_report = self.clipper(parameters, loss=loss)
        ...         for param in parameters:
        ...             param.grad *= 0.5
        ...         return self.last_report
        >>> _ = Halved(ClipNorm(1.0, eps=0))([weight])
        >>> weight.grad
        tensor([0.3000, 0.4000])

    Gradients must be those the step will use: accumulated, and unscaled under AMP. Statistics
    count that call as one step.

    Most clippers need nothing else. Those that look at the model's backward pass, or at the
    optimizer's state or update, are told which with `attach`; `GradientClipping` does that by
    itself. State lives in buffers; what is attached is no part of it, is not copied, and is
    not pickled. A clipper is a module: as an attribute of a model it puts its state among the
    model's weights, which a warning tells when they are saved; keep it beside the model.
    """

    needs_samples = False  # whether it has a `backward` of its own; see `ClipPerSample`
    acts_in_step = False  # whether the work is done, and the report complete, after `step()`
    modifies_gradients = False  # whether it changes gradients itself, not by what it is made of

    def __init__(self) -> None:
        super().__init__()
        self.last_report: ClipReport | None = None
        # No parts of it, and not kept alive by it.
        self._steps_of: weakref.ref[Optimizer] | None = None
        self._named: weakref.ref[nn.Module] | None = None
        self._handles: list[StepHooks] = []
        self._idle_calls = 0  # that found no gradient, before the first that did
        self._met: weakref.ref[Optimizer] | None = None  # one that was handed to a call

    def forward(self, parameters: Parameters, *, loss: Tensor | None = None) -> ClipReport:
        """Clip the gradients of a model, optimizer, parameters or named parameters in place.

        loss: the loss of the step, 0-d, for rules that watch it; of this process's samples,
            which such a rule passes through `sharding.joint_mean`.
        """
        raise TypeError(f"{type(self).__name__} must implement forward(parameters)")

    def __call__(self, *args: Any, **settings: Any) -> Any:
        """Call `forward`: past hooks on all modules, which are for those of the model.

        Under `torch.compile` the whole call is one graph break. Inference mode is left for it,
        whose tensors could be no state of a later step.
        """
        if torch.compiler.is_compiling():
            return _outside_of_graphs(self, *args, **settings)
        if torch.is_inference_mode_enabled():
            with torch.inference_mode(False), torch.no_grad():
                return self(*args, **settings)
        if len(args) > 1 and not takes(self.forward, args, settings):
            raise TypeError(
                f"{type(self).__name__} is called with the parameters alone, as clipper(model), "
                f"got {len(args)} arguments: the threshold goes to its constructor, the loss is "
                "loss=..."
            )
        if args and isinstance(args[0], Optimizer):
            self._meet(args[0])
        return super().__call__(*args, **settings)

    def _meet(self, optimizer: Optimizer) -> None:
        """Warn once of what `attach` warns of, if this optimizer is not attached."""
        if optimizer is self._optimizer or (self._met is not None and self._met() is optimizer):
            return
        self._met = weakref.ref(optimizer)
        for part in self.modules():
            if isinstance(part, Clipper) and part.modifies_gradients and not part.acts_in_step:
                warn_of_steps(type(part).__name__, optimizer)

    def state_dict(self, *args: Any, **settings: Any) -> Any:
        """The state of the clipper and of what it is made of, as plain tensors.

        Warns (UserWarning) where it is asked for among the weights of a model.
        """
        whose, number = _clippers_keys.get()
        if whose == _INSIDE:
            return super().state_dict(*args, **settings)
        held = args[0] if args else settings.get("destination")
        number = number if whose == id(held) else 0
        before = 0 if held is None else len(held)
        if before > number:  # and not a container of clippers alone
            _warn_among_weights(type(self).__name__)
        _clippers_keys.set((_INSIDE, 0))
        try:
            state = super().state_dict(*args, **settings)
        finally:
            _clippers_keys.set((_OUTSIDE, 0))
        if held is not None:
            _clippers_keys.set((id(held), number + len(held) - before))
        return state

    def attach(self, *, model: nn.Module | None = None, optimizer: Optimizer | None = None) -> Self:
        """Work on this model and this optimizer from now on; returns the clipper itself.

        Examples:
            >>> import torch
            >>> from gradclip_core import Spam
            >>> model = torch.nn.Linear(2, 1)
            >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
            >>> clipper = Spam().attach(optimizer=optimizer)

        Called again, it adds what was left out before: a model gives the parameters of an
        optimizer their names. Raises ValueError for a model or an optimizer that the rule cannot
        serve and for a second optimizer, TypeError for one whose `step()` calls no hooks.

        Args:
            model: whose backward pass or names the clipper needs.
            optimizer: whose state or update it needs.
        """
        model, optimizer = self._together(model, optimizer)
        self._named = None if model is None else weakref.ref(model)
        self._steps_of = None if optimizer is None else weakref.ref(optimizer)
        self._unhook()
        return self

    def _together(
        self, model: nn.Module | None, optimizer: Optimizer | None
    ) -> tuple[nn.Module | None, Optimizer | None]:
        """What is attached after this, with what was before; raises what `attach` does."""
        if model is not None:
            check_module(model)
        attached = self._optimizer
        optimizer = attached if optimizer is None else hooked(optimizer)
        if attached is not None and attached is not optimizer:
            raise ValueError(
                f"this {type(self).__name__} is attached to another optimizer "
                f"({type(attached).__name__}): give each a copy (copy.deepcopy(clipper)), or call "
                "clipper.detach() first"
            )
        return self._attached_model() if model is None else model, optimizer

    @property
    def _optimizer(self) -> Optimizer | None:
        """The optimizer that is attached; None where there is none, or no longer."""
        return None if self._steps_of is None else self._steps_of()

    def _attached_model(self) -> nn.Module | None:
        """The model that is attached; None where there is none, or no longer."""
        return None if self._named is None else self._named()

    def fold_into(self, optimizer: Optimizer, scaler: GradScaler | None = None) -> bool:
        """Let a fused optimizer scale the gradients in its step, in place of this clipper.

        Examples:
            >>> import torch
            >>> from gradclip_core import ClipNorm
            >>> model = torch.nn.Linear(2, 1)
            >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=True)
            >>> clipper = ClipNorm(1.0)
            >>> clipper.fold_into(optimizer)
            True

        Args:
            optimizer: the optimizer whose step is to scale.
            scaler: the GradScaler of the loop, if there is one: without `scaler.unscale_` the
                clipper measures the gradients that are behind the loss scale, and the step takes it
                out.

        Returns:
            Whether it will; a clipper whose response is not one factor never does, and then
            `scaler.unscale_` comes before the clipper.
        """
        return False

    def detach(self) -> None:
        """Leave the model and the optimizer alone from now on.

        Examples:
            >>> import torch
            >>> from gradclip_core import ClipUpdate
            >>> model = torch.nn.Linear(2, 1)
            >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            >>> clipper = ClipUpdate(0.01).attach(optimizer=optimizer)
            >>> clipper.detach()  # steps are as they were without it
        """
        self._steps_of = self._named = None
        self._unhook()

    def _unhook(self) -> None:
        """Take back every hook that `attach` placed."""
        while self._handles:
            self._handles.pop().remove()

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Restore what `state_dict` returned.

        Raises ValueError, with nothing loaded, for the state of another clipper.
        """
        try:
            nn.Module.load_state_dict(copy.deepcopy(self), state_dict, strict, assign)
        except (RuntimeError, KeyError) as error:
            differences = " ".join(str(error).split()).partition(": ")[2]
            raise ValueError(
                f"this state is of another clipper than {type(self).__name__}, or of other "
                f"settings: {differences}"
            ) from None
        return super().load_state_dict(state_dict, strict, assign)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the state, but leave its dtype: `model.half()` is for the weights of a model."""

        def moved(values: Tensor) -> Tensor:
            done = fn(values)
            return done if done.dtype == values.dtype else values.to(done.device)

        return super()._apply(moved, recurse)  # type: ignore[no-untyped-call, no-any-return]

    def _found_nothing(self, parameters: Parameters) -> None:
        """Warn once where one that never saw a gradient is called again and again by a loop."""
        steps = next((part.steps for part in self.modules() if "steps" in part._buffers), None)
        seen = isinstance(steps, Tensor) and (not steps.is_cpu or bool(steps))  # else not followed
        if not seen and not isinstance(parameters, HandedOn):
            self._idle_calls += 1
            if self._idle_calls == IDLE_CALLS:
                warn_of_no_gradient(type(self).__name__)

    def _keep(self, report: ClipReport) -> None:
        """Make a report the last one; past nn.Module, whose way takes as long as a small clip."""
        self.__dict__["last_report"] = report

    def _attached(self) -> Optimizer:
        optimizer = self._optimizer
        if optimizer is None:
            raise ValueError(
                f"{type(self).__name__} needs the optimizer: call "
                "clipper.attach(optimizer=optimizer) first"
            )
        return optimizer

    def __getstate__(self) -> dict[str, Any]:
        # Hooks belong to one model and one optimizer, and a report to one step.
        belongings: dict[str, Any] = {
            "_handles": [],
            "_steps_of": None,
            "_named": None,
            "_met": None,
            "last_report": None,
        }
        return self.__dict__ | belongings


@_disable_dynamo
def _outside_of_graphs(clipper: Clipper, *args: Any, **settings: Any) -> Any:
    return clipper.forward(*args, **settings)


def _warn_among_weights(name: str) -> None:
    warnings.warn(
        f"a {name} is an attribute of a model, so that its state is among the model's weights: "
        "keep the clipper beside the model, and save clipper.state_dict() by itself",
        UserWarning,
        stacklevel=1,  # of one place, so that Python shows it once
    )
