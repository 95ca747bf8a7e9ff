"""What clippers, thresholds and guards are beyond an `nn.Module`: short help, no dead settings."""

from __future__ import annotations

import inspect
from abc import ABCMeta
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

_OF_TORCH = set(dir(nn.Module)) - {"__init__"}


class _ShortHelp(ABCMeta):
    """A class of classes whose `dir`, which `help` goes by, is without what is `nn.Module`'s alone.

    It is a subclass of `ABCMeta`, so that a clipper may be an abstract class, too.
    """

    def __call__(cls, *args: Any, **settings: Any) -> Any:
        """Make an object, of which no tensor is one of inference mode, and note that it is made."""
        with torch.inference_mode(False):
            made = super().__call__(*args, **settings)
        vars(made)["_made"] = True
        return made

    def __dir__(cls) -> list[str]:
        own = {name for base in cls.__mro__ if base is not nn.Module for name in vars(base)}
        return sorted(name for name in super().__dir__() if name not in _OF_TORCH or name in own)


class ShortHelpModule(nn.Module, metaclass=_ShortHelp):
    """A `nn.Module` with a short `help` of its class; its objects tell of all they have.

    An argument of the constructor that is no attribute cannot be set on an object, where it would
    do nothing (AttributeError). Hooks on all modules are for those of the model, and pass it by.
    """

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if "__init__" in vars(cls):  # else it would be that of `_ShortHelp.__call__`
            own = list(inspect.signature(cls.__init__).parameters.values())[1:]
            cls.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]

    def __call__(self, *args: Any, **settings: Any) -> Any:
        """Call `forward`, and the hooks of this object alone."""
        if self._forward_hooks or self._forward_pre_hooks:
            return super().__call__(*args, **settings)
        return self.forward(*args, **settings)

    def __dir__(self) -> Iterable[str]:
        return sorted({*super().__dir__(), *_OF_TORCH})  # type: ignore[no-untyped-call]

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; raises AttributeError for what the constructor alone reads."""
        if "_made" in self.__dict__ and not hasattr(self, name):
            _refuse_setting(self, name)
        super().__setattr__(name, value)


def _refuse_setting(made: ShortHelpModule, name: str) -> None:
    kind = type(made)
    if name not in inspect.signature(kind).parameters:
        return
    cure = f"make another {kind.__name__}, which may load_state_dict the state of this one"
    if isinstance(getattr(made, "threshold", None), nn.Module):
        cure += "; a new bound is a new .threshold, such as Fixed(0.5)"
    raise AttributeError(
        f"{name} is read when a {kind.__name__} is made, and would do nothing now: {cure}"
    )
