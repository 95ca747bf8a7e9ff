"""The names of an optimizer's parameters in a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from gradclip_core.parts.gradients import Named
from gradclip_core.parts.names import names_of, plain_names


class Names:
    """Parameter groups with the names that a model has for the parameters, for any clipper.

    They are without those of wrappers (see `gradclip_core.parts.names`), and looked up anew only
    when there is a parameter that had none.
    """

    def __init__(self) -> None:
        self._model: nn.Module | None = None
        self._names: dict[int, str] = {}

    def __call__(self, model: nn.Module, optimizer: Optimizer) -> Named:
        """The groups of an optimizer; a parameter that the model has not is called as there.

        Its name is None where the group has no names.
        """
        groups = optimizer.param_groups
        if model is not self._model or any(
            id(p) not in self._names for group in groups for p in group["params"]
        ):
            self._model = model
            ids = map(id, model.parameters())
            self._names = _given(groups) | dict(zip(ids, names_of(model), strict=True))
        return Named(
            {
                "params": group["params"],
                "param_names": [self._names.get(id(param)) for param in group["params"]],
            }
            for group in groups
        )


def _given(groups: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """The names that parameter groups have themselves, by the ids of their parameters."""
    named = [group for group in groups if group.get("param_names")]
    ids = [id(param) for group in named for param in group["params"]]
    names = [name for group in named for name in group["param_names"]]
    return dict(zip(ids, plain_names(names), strict=True))


def shares_parameters(model: nn.Module, optimizer: Optimizer) -> bool:
    """Whether any of an optimizer's parameters is one of a model's."""
    ids = set(map(id, model.parameters()))
    return any(id(param) in ids for group in optimizer.param_groups for param in group["params"])


def common_module(model: nn.Module, optimizer: Optimizer) -> str | None:
    """The first component of the names of all of an optimizer's parameters; None if they differ."""
    ours = {id(param) for group in optimizer.param_groups for param in group["params"]}
    pairs = zip(model.parameters(), names_of(model), strict=True)
    named = [name for param, name in pairs if id(param) in ours]
    first = {name.partition(".")[0] for name in named if "." in name}
    whole = len(first) == 1 and all("." in name for name in named)
    return first.pop() if whole else None
