"""What the state of a parameter is kept under, so that it follows the parameter."""

from __future__ import annotations

import itertools
import json
import weakref
from collections.abc import Container, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from gradclip_core.parts.gradients import Gradients


class ParameterKeys:
    """A key for each parameter: its name, or a number where it has none.

    The number is the position at which the parameter came first, or another where that is of one
    that came before: so it keeps its own while others come and go. Where none of those that came
    before is among them, all are new and positions count anew. Of two parameters with one name the
    second is `name (2)`.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, weakref.ref[Tensor]] = {}

    def __call__(self, gradients: Gradients) -> tuple[str, ...]:
        """The keys of the parameters of these gradients, in their order."""
        names = gradients.names
        if None not in names and len(set(names)) == len(names):
            return tuple(name for name in names if name is not None)
        numbers = self._known(gradients.params)
        taken = {name for name in names if name is not None} | set(self._numbers)
        keys: list[str] = []
        for position, (param, name) in enumerate(zip(gradients.params, names, strict=True)):
            if name is not None:
                key = name if name not in keys else _again(name, taken)
            elif id(param) in numbers:
                key = numbers[id(param)]
            else:
                key = _number(position, len(names), taken)
                self._numbers[key] = weakref.ref(param)
            taken.add(key)
            keys.append(key)
        return tuple(keys)

    def _known(self, params: list[Tensor]) -> dict[int, str]:
        """The numbers of the parameters that came before, by their ids."""
        self._numbers = {key: ref for key, ref in self._numbers.items() if ref() is not None}
        numbers = {id(ref()): key for key, ref in self._numbers.items()}
        if numbers.keys().isdisjoint(map(id, params)):
            self._numbers, numbers = {}, {}
        return numbers

    def __reduce__(self) -> tuple[type[ParameterKeys], tuple[()]]:
        return ParameterKeys, ()  # a copy may be for other parameters


def _number(position: int, beyond: int, taken: Container[str]) -> str:
    numbers = itertools.chain([position], itertools.count(beyond))
    return next(key for key in map(str, numbers) if key not in taken)


def _again(name: str, taken: Container[str]) -> str:
    return next(key for n in itertools.count(2) if (key := f"{name} ({n})") not in taken)


def are_numbers(keys: Iterable[str]) -> bool:
    """Whether all keys are those of parameters without a name."""
    return all(key.isdigit() for key in keys)


def packed(keys: Mapping[str, Any]) -> Tensor:
    """Something about keys as a tensor of bytes: all of a state is tensors."""
    return torch.tensor(list(json.dumps(keys).encode()), dtype=torch.uint8, device="cpu")


def unpacked(stored: Tensor | None) -> dict[str, Any] | None:
    """What `packed` was given; None for nothing."""
    if stored is None:
        return None
    keys: dict[str, Any] = json.loads(bytes(stored.tolist()))
    return keys
