"""Numbers of CPU buffers, read and written without a tensor operation."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_KINDS: dict[torch.dtype, Any] = {
    torch.float64: ctypes.c_double,
    torch.float32: ctypes.c_float,
    torch.int64: ctypes.c_int64,
}


class BufferView:
    """Some contiguous buffers of a module as arrays of plain numbers, in memory order.

    They are looked up once, and again whenever one was replaced or its memory has moved, which
    costs a tenth of an operation on a buffer. A copy of a module looks for its own.
    """

    __slots__ = ("_arrays", "_places", "names")

    def __init__(self, *names: str) -> None:
        self.names = names
        self._places: list[tuple[str, Tensor, int]] = []
        self._arrays: list[Any] = []

    def current(self, buffers: Mapping[str, Tensor | None]) -> list[Any]:
        """The arrays if all buffers are where they were at the last look; else nothing."""
        for name, buffer, address in self._places:
            if buffers[name] is not buffer or buffer.data_ptr() != address:
                return []
        return self._arrays

    def __call__(self, buffers: Mapping[str, Tensor | None]) -> list[Any]:
        """The arrays, one for each name; ValueError for a buffer that is not on the CPU."""
        return self.current(buffers) or self._looked_up(buffers)

    def _looked_up(self, buffers: Mapping[str, Tensor | None]) -> list[Any]:
        self._places, self._arrays = [], []
        for name in self.names:
            buffer = buffers[name]
            if buffer is None or not buffer.is_cpu or not buffer.is_contiguous():
                raise ValueError(f"buffer {name!r} is not contiguous or not on the CPU")
            address = buffer.data_ptr()
            self._places.append((name, buffer, address))
            self._arrays.append((_KINDS[buffer.dtype] * buffer.numel()).from_address(address))
        return self._arrays

    def __repr__(self) -> str:
        return f"BufferView{self.names}"

    def __reduce__(self) -> tuple[type[BufferView], tuple[str, ...]]:
        return BufferView, self.names
