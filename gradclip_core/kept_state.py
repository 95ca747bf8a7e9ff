"""A clipper's state inside the state of the optimizer that it serves."""

from __future__ import annotations

import copy
import io
import warnings
from typing import Any

import torch
from torch.optim import Optimizer

from gradclip_core.clipper import Clipper

KEY = "clipper"


class KeptState:
    """Saves and loads a clipper with an optimizer, as bytes in its first parameter group.

    `torch.distributed.checkpoint` keeps nothing but states of parameters and parameter groups.
    Bytes (of `torch.save`) are loaded whatever the shapes were, with `weights_only`, on any
    device and by any process.
    """

    def __init__(self, optimizer: Optimizer, clipper: Clipper) -> None:
        self._optimizer = optimizer
        self._clipper = clipper
        self._to_load: dict[str, Any] | None = None
        # A state that was loaded before the clipper came.
        held = optimizer.param_groups[0].get(KEY)
        if held is not None:
            clipper.load_state_dict(_unpacked(held))
        # What loads a flattened state asks the optimizer for the keys of its groups.
        optimizer.param_groups[0][KEY] = None
        self._handles = [
            optimizer.register_state_dict_post_hook(self._save),
            optimizer.register_load_state_dict_pre_hook(self._check),
            optimizer.register_load_state_dict_post_hook(self._load),
        ]

    def remove(self) -> None:
        """Leave the optimizer's state alone from now on."""
        while self._handles:
            self._handles.pop().remove()
        self._optimizer.param_groups[0].pop(KEY, None)

    def _save(self, _: Optimizer, state: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(dict(self._clipper.state_dict()), buffer)
        state["param_groups"][0][KEY] = buffer.getvalue()

    def _check(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        """Take the clipper's state out of what is to be loaded, and see that it fits."""
        groups = [dict(group) for group in state["param_groups"]]
        found = [group.pop(KEY) for group in groups if group.get(KEY) is not None]
        groups[0][KEY] = None
        state["param_groups"] = groups
        self._to_load = None
        if not found:
            warnings.warn(
                f"the state that is loaded into {type(optimizer).__name__} was saved without a "
                f"clipper: its {type(self._clipper).__name__} goes on as it is",
                UserWarning,
                stacklevel=2,
            )
            return
        held = _unpacked(found[0])
        copy.deepcopy(self._clipper).load_state_dict(held)
        self._to_load = held

    def _load(self, _: Optimizer) -> None:
        if self._to_load is not None:
            self._clipper.load_state_dict(self._to_load)
            self._to_load = None


def _unpacked(packed: bytes) -> dict[str, Any]:
    held: dict[str, Any] = torch.load(io.BytesIO(packed), map_location="cpu", weights_only=True)
    return held
