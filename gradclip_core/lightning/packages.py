"""What is the same in the packages `lightning` and `pytorch_lightning`, under two names.

A Trainer, its module and its strategies all come from one of them, the callback from either.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any


def _is_choosy() -> bool:
    """Whether pytorch_lightning is there and takes no callbacks but its own, as before 2.6."""
    try:
        release = version("pytorch-lightning").split(".")
    except PackageNotFoundError:
        return False
    return tuple(map(int, release[:2])) < (2, 6)


if TYPE_CHECKING:
    import lightning.pytorch as pl

    Callback = pl.Callback
else:
    try:
        from lightning.pytorch import Callback
    except ModuleNotFoundError as error:
        if error.name != "lightning":
            raise
        from pytorch_lightning import Callback
    else:
        if _is_choosy():
            from pytorch_lightning import Callback as Other

            class Callback(Callback, Other):
                """A callback of both packages."""


__all__ = ["Callback", "clips_itself", "is_strategy", "misconfigured"]


def misconfigured(trainer: Any, message: str) -> Exception:
    """The MisconfigurationException of the Trainer's own package."""
    of_pytorch_lightning = any(
        kind.__module__.startswith("pytorch_lightning.") for kind in type(trainer).__mro__
    )
    fabric = "lightning_fabric" if of_pytorch_lightning else "lightning.fabric"
    exceptions = importlib.import_module(f"{fabric}.utilities.exceptions")
    error: Exception = exceptions.MisconfigurationException(message)
    return error


def clips_itself(module: Any) -> bool:
    """Whether a LightningModule brings a `configure_gradient_clipping` of its own."""
    base = next(kind for kind in type(module).__mro__ if kind.__name__ == "LightningModule")
    own = getattr(module.configure_gradient_clipping, "__func__", None)
    return own is not vars(base)["configure_gradient_clipping"]


def is_strategy(trainer: Any, *names: str) -> bool:
    """Whether the Trainer's strategy is one of these classes, or of a subclass."""
    return any(kind.__name__ in names for kind in type(trainer.strategy).__mro__)
