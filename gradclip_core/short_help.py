"""Help that tells of the library's own methods, and leaves those of `nn.Module` to torch."""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Iterable
from typing import Any

from torch import nn

_OF_TORCH = set(dir(nn.Module)) - {"__init__"}


class _ShortHelp(ABCMeta):
    """A class of classes whose `dir`, which `help` goes by, is without what is `nn.Module`'s alone.

    It is a subclass of `ABCMeta`, so that a clipper may be an abstract class, too.
    """

    def __dir__(cls) -> list[str]:
        own = {name for base in cls.__mro__ if base is not nn.Module for name in vars(base)}
        return sorted(name for name in super().__dir__() if name not in _OF_TORCH or name in own)


class ShortHelpModule(nn.Module, metaclass=_ShortHelp):
    """A `nn.Module` with a short `help` of its class; its objects tell of all they have.

    Hooks on all modules are for those of the model, and pass it by.
    """

    def __call__(self, *args: Any, **settings: Any) -> Any:
        """Call `forward`, and the hooks of this object alone."""
        if self._forward_hooks or self._forward_pre_hooks:
            return super().__call__(*args, **settings)
        return self.forward(*args, **settings)

    def __dir__(self) -> Iterable[str]:
        return sorted({*super().__dir__(), *_OF_TORCH})  # type: ignore[no-untyped-call]
