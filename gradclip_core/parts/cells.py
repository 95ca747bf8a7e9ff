"""Single numbers of CPU buffers, read and written without a tensor operation."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

_KINDS: dict[torch.dtype, Any] = {
    torch.float64: ctypes.c_double,
    torch.float32: ctypes.c_float,
    torch.int64: ctypes.c_int64,
}


def cell(buffer: Tensor, place: int = 0) -> Any:
    """The number at a place of a contiguous buffer, as `.value`; it lives as long as the buffer.

    Raises ValueError for a buffer that is not on the CPU, or shorter.
    """
    if not buffer.is_cpu or not 0 <= place < buffer.numel():
        raise ValueError(f"no number {place} in a buffer of {buffer.numel()} on {buffer.device}")
    kind = _KINDS[buffer.dtype]
    return kind.from_address(buffer.data_ptr() + place * ctypes.sizeof(kind))
