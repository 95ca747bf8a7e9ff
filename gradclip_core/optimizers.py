"""Optimizers that clip: any of torch's with any clipper, for a loop without further calls.

optimizer = gradclip_core.optimizers.AdamW(model.parameters(), 1e-3, clipper=ClipNorm(1.0))
"""

from __future__ import annotations

import inspect
from typing import Any, Self

import torch
from torch import nn
from torch.optim import Optimizer

from gradclip_core.clipper import Clipper
from gradclip_core.in_step import clip_in_step, clipped_step_of
from gradclip_core.report import ClipReport
from gradclip_core.stepping.step_hooks import hooked


class Clipping(Optimizer):
    """What `clipped` adds to an optimizer; `isinstance` tells such an optimizer by it.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipNorm
        >>> from gradclip_core.optimizers import SGD, Clipping
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> optimizer = SGD([weight], lr=1.0, clipper=ClipNorm(1.0))
        >>> isinstance(optimizer, Clipping)
        True
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> optimizer.step()
        >>> optimizer.last_report.norm.item()
        5.0

    `step()` clips the gradients first, as `clip_in_step` has it, and `state_dict()` holds the
    clipper's state. Names of parameters are known if the optimizer was given them
    (`model.named_parameters()`), or `attach(model=model)` was called.
    """

    clipper: Clipper

    @property
    def last_report(self) -> ClipReport | None:
        """What the latest step did; None before the first."""
        return self.clipper.last_report

    def attach(self, *, model: nn.Module) -> Self:
        """Give the parameters the names that they have in a model; returns the optimizer."""
        step = clipped_step_of(self)
        if step is None:
            self.clipper.attach(model=model)  # it was detached from the step
        else:
            step.attach(model=model)
        return self

    def _install(self, clipper: Clipper) -> None:
        if hooked(self) is not self:
            raise TypeError(
                f"{type(self).__name__} wraps an optimizer: give the clipper to that one, with "
                "clip_in_step(optimizer, clipper)"
            )
        self.clipper = clip_in_step(self, clipper).clipper

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "clipper": self.clipper}

    def __setstate__(self, state: dict[str, Any]) -> None:
        clipper = state.pop("clipper", None)
        super().__setstate__(state)
        if clipper is not None:  # `load_state_dict` comes here too, without one
            self._install(clipper)

    def __reduce__(self) -> tuple[Any, ...]:
        # A class that `clipped` has made is found by what it was made of.
        made_of = next((base for base, kind in _CLASSES.items() if kind is type(self)), type(self))
        return _blank, (made_of,), self.__getstate__()


_CLASSES: dict[type[Optimizer], type[Clipping]] = {}


def clipped(base: type[Optimizer]) -> Any:
    """The class of an optimizer that clips: the signature of `base` and a keyword `clipper`.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipNorm
        >>> from gradclip_core.optimizers import clipped
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> optimizer = clipped(torch.optim.SGD)([weight], lr=1.0, clipper=ClipNorm(1.0, eps=0))
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> optimizer.step()
        >>> weight.data
        tensor([-0.6000, -0.8000])

    Args:
        base: a torch optimizer, or one that follows its protocol (`step` hooks, closures). The
            class is the same one for the same `base`. Its optimizers can be copied and pickled,
            work with learning rate schedulers, parameter groups and GradScaler, and hold the
            clipper's latest report in `last_report`. See `Clipping`.

    Raises TypeError unless `base` is a class of optimizers, and one that does not clip yet.
    """
    if not (isinstance(base, type) and issubclass(base, Optimizer)) or issubclass(base, Clipping):
        raise TypeError(f"clipped takes a class of optimizers without a clipper, got {base!r}")
    if base not in _CLASSES:
        _CLASSES[base] = _make_class(base)
    return _CLASSES[base]


def _make_class(base: type[Optimizer]) -> type[Clipping]:
    def init(self: Clipping, *args: Any, clipper: Clipper, **settings: Any) -> None:
        base.__init__(self, *args, **settings)
        self._install(clipper)

    init.__qualname__ = f"{base.__name__}.__init__"  # which an error of Python's names
    doc = f"`{base.__name__}` with a clipper; see `Clipping` and `{base.__module__}`."
    kind = type(f"Clipped{base.__name__}", (Clipping, base), {"__init__": init, "__doc__": doc})
    kind.__module__, kind.__qualname__ = __name__, base.__name__
    given = inspect.signature(base)
    clipper = inspect.Parameter("clipper", inspect.Parameter.KEYWORD_ONLY, annotation=Clipper)
    parameters = sorted([*given.parameters.values(), clipper], key=lambda p: p.kind)
    kind.__signature__ = given.replace(parameters=parameters)  # type: ignore[attr-defined]
    return kind


def _blank(kind: type[Optimizer]) -> Optimizer:
    """An optimizer to which the state of a copied or pickled one is given."""
    kind = kind if issubclass(kind, Clipping) else clipped(kind)
    blank: Optimizer = kind.__new__(kind)
    return blank


ASGD = clipped(torch.optim.ASGD)
Adadelta = clipped(torch.optim.Adadelta)
Adafactor = clipped(torch.optim.Adafactor)
Adagrad = clipped(torch.optim.Adagrad)
Adam = clipped(torch.optim.Adam)
AdamW = clipped(torch.optim.AdamW)
Adamax = clipped(torch.optim.Adamax)
LBFGS = clipped(torch.optim.LBFGS)
NAdam = clipped(torch.optim.NAdam)
RAdam = clipped(torch.optim.RAdam)
RMSprop = clipped(torch.optim.RMSprop)
Rprop = clipped(torch.optim.Rprop)
SGD = clipped(torch.optim.SGD)
SparseAdam = clipped(torch.optim.SparseAdam)
if hasattr(torch.optim, "Muon"):  # since torch 2.9
    Muon = clipped(torch.optim.Muon)
