"""Norms, scaling and clamping of CPU gradients by a small compiled kernel, where there is one.

It reads the gradients once and gives the same results as the PyTorch code it stands in for. It
is compiled at its first use and left out without a word where there is no C compiler;
`available()` tells. The environment variable GRADCLIP_NATIVE=0 turns it off.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from gradclip_core.parts.native.build import compiled
from gradclip_core.parts.native.places import Locator, locator, threads_of_torch

_ORDERS = {math.inf: 0, 1.0: 1, 2.0: 2}
_TYPES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}
_DOUBLE = ctypes.c_double
_PLAIN = {Tensor, nn.Parameter}
_dtype, _is_cpu = attrgetter("dtype"), attrgetter("is_cpu")


def available() -> bool:
    """Whether the compiled kernel is in use; compiles it if that was not tried before."""
    return library() is not None


@dataclass(frozen=True, slots=True)
class Kernel:
    """The functions of the compiled kernel; see kernel.c."""

    measure: Callable[..., float]
    scale: Callable[..., None]
    clamp: Callable[..., float]
    factors: Callable[..., int]
    locate: Locator | None


@functools.cache
def library() -> Kernel | None:
    """The compiled kernel; None where it is turned off or cannot be had."""
    path = None if os.environ.get("GRADCLIP_NATIVE") == "0" else compiled()
    try:
        return None if path is None else _loaded(str(path))
    except (OSError, AttributeError):  # a strange compiler may build anything
        return None


def _loaded(path: str) -> Kernel:
    loaded = ctypes.CDLL(path)
    number, many, address = ctypes.c_int, ctypes.c_int64, ctypes.c_void_p
    tensors: list[Any] = [many, address, address, address, number]
    names = "measure", "scale", "clamp", "factors"
    measure, scale, clamp, factors = (getattr(loaded, f"gradclip_{name}") for name in names)
    measure.argtypes = scale.argtypes = [*tensors, number, number, address]
    clamp.argtypes = [*tensors, number, number, address, address]
    measure.restype = clamp.restype = ctypes.c_double
    factors.argtypes, factors.restype = [many, address, address, number, _DOUBLE, address], many
    loaded.gradclip_use_threads.argtypes = [address]
    loaded.gradclip_use_threads(threads_of_torch())
    return Kernel(measure, scale, clamp, factors, locator(path))


class Batch:
    """Tensors as the kernel takes them: where they lie, and their rows and columns.

    A tensor that was not divided into rows is one row. Numbers for each row come and go as
    float64 tensors. `place`: the addresses of three arrays, kept in `keep`, and the dtype.
    """

    __slots__ = ("_keep", "_kernel", "_place", "num_rows", "tensors")

    def __init__(
        self,
        kernel: Kernel,
        tensors: list[Tensor],
        place: tuple[int, int, int, int],
        num_rows: int,
        keep: object,
    ) -> None:
        self._kernel = kernel
        self.tensors = tensors
        self.num_rows = num_rows
        self._place = (len(tensors), *place)
        self._keep = keep

    def norms(self, norm_type: float) -> tuple[float, Tensor]:
        """The norm, of order 1, 2 or inf, of the whole and of each row."""
        out = torch.empty(self.num_rows, dtype=torch.float64, device="cpu")
        order, threads = _ORDERS[norm_type], torch.get_num_threads()
        whole = self._kernel.measure(*self._place, order, threads, out.data_ptr())
        return whole, out

    def scale(self, factors: Tensor | float, changed: list[Tensor] | None = None) -> None:
        """Multiply each row by its factor, or all by one, in place.

        Rows with the factor 1 are not written. `changed`: the tensors that have others; None: all.
        """
        each, at, _keep = _numbers(factors, self.num_rows)
        self._kernel.scale(*self._place, each, torch.get_num_threads(), at)
        torch.autograd.graph.increment_version(self.tensors if changed is None else changed)

    def factors(self, norms: Tensor, limits: Tensor | float, eps: float) -> tuple[int, Tensor]:
        """How many rows are over their limits, and limit / (norm + eps) for those, 1 for others."""
        out = torch.empty(self.num_rows, dtype=torch.float64, device="cpu")
        each, at, _keep = _numbers(limits, self.num_rows)
        numbers = self.num_rows, norms.data_ptr(), at, each, eps
        return self._kernel.factors(*numbers, out.data_ptr()), out

    def clamp(self, bounds: Tensor | float) -> tuple[float, Tensor]:
        """Bound the magnitudes in each row by its bound, or in all by one, in place.

        Returns the largest magnitude that there was, and that of each row. NaN and inf stay.
        """
        out = torch.empty(self.num_rows, dtype=torch.float64, device="cpu")
        each, at, _keep = _numbers(bounds, self.num_rows)
        threads = torch.get_num_threads()
        largest = self._kernel.clamp(*self._place, each, threads, at, out.data_ptr())
        if each or not largest <= bounds:
            torch.autograd.graph.increment_version(self.tensors)
        return largest, out


def _numbers(values: Tensor | float, rows: int) -> tuple[bool, object, Tensor | None]:
    """Whether there is a number for each row, where they lie, and what has to be kept meanwhile."""
    if not isinstance(values, Tensor):
        return False, ctypes.byref(_DOUBLE(values)), None
    fits = values.dtype is torch.float64 and values.numel() == rows and values.is_contiguous()
    if not (fits and values.is_cpu):  # those of a threshold of the user's own
        values = values.to("cpu", torch.float64).expand(rows).contiguous()
    return True, values.data_ptr(), values


def supports(norm_type: float) -> bool:
    """Whether the kernel takes norms of this order."""
    return norm_type in _ORDERS


class Located(Batch):
    """Tensors whose places PyTorch has told; see `places.locator`."""

    __slots__ = ("_kind", "_numbers")

    def __init__(self, kernel: Kernel, tensors: list[Tensor], kind: int, numbers: array[int]):
        n = len(tensors)
        start = numbers.buffer_info()[0]
        super().__init__(kernel, tensors, (start, start + 8 * n, start + 16 * n, kind), n, numbers)
        self._kind = kind
        self._numbers = numbers

    def num_elements(self) -> int:
        """The number of elements of all tensors."""
        n = len(self.tensors)
        return sum(self._numbers[2 * n : 3 * n])

    def heights(self) -> array[int]:
        """The lengths of the first dimensions, 1 below two dimensions: the numbers of rows."""
        n = len(self.tensors)
        return self._numbers[3 * n : 4 * n]

    def by_row(self) -> Batch:
        """The same tensors, divided into rows."""
        n, start = len(self.tensors), self._numbers.buffer_info()[0]
        place = start, start + 24 * n, start + 32 * n, self._kind
        return Batch(self._kernel, self.tensors, place, sum(self.heights()), self._numbers)


def locate(tensors: list[Tensor]) -> Located | None:
    """Plain contiguous tensors as the kernel takes them, in one call; None where it cannot tell.

    tensors: of no subclass of Tensor but Parameter.
    """
    kernel = library()
    if kernel is None or kernel.locate is None or not tensors:
        return None
    found = kernel.locate(tensors)
    return None if found is None else Located(kernel, tensors, *found)


def batch(tensors: list[Tensor], rows: Sequence[int] | None = None) -> Batch | None:
    """The tensors as the kernel takes them; None where it cannot: PyTorch has to do it then.

    It takes dense CPU tensors of one floating-point dtype. `rows`: the number of rows of each
    tensor, which have to be pieces of its memory, one after the other; None: one.
    """
    kernel = library()
    if kernel is None or not tensors or not set(map(type, tensors)) <= _PLAIN:
        return None
    found = locate(tensors) if rows is None else None
    if found is not None:
        return found
    if tensors[0].dtype not in _TYPES or len(set(map(_dtype, tensors))) > 1 or not on_cpu(tensors):
        return None
    heights = array("q", (1,)) * len(tensors) if rows is None else array("q", rows)
    widths = array("q", map(Tensor.numel, tensors))
    if 0 in widths or not all(map(_in_one_piece, tensors, heights)):
        return None
    if rows is not None:
        widths = array("q", [n // k for n, k in zip(widths, heights, strict=True)])
    keep = array("q", map(Tensor.data_ptr, tensors)), heights, widths
    data, of_rows, of_columns = (numbers.buffer_info()[0] for numbers in keep)
    place = data, of_rows, of_columns, _TYPES[tensors[0].dtype]
    return Batch(kernel, tensors, place, sum(heights), keep)


def on_cpu(tensors: Sequence[Tensor]) -> bool:
    """Whether all tensors lie on the CPU; `meta` is no accelerator, and lies nowhere."""
    return all(map(_is_cpu, tensors))


def _in_one_piece(tensor: Tensor, rows: int) -> bool:
    """Whether the elements fill one stretch of memory, row by row, in whatever order of theirs."""
    if tensor.is_contiguous():
        return True
    order = sorted(range(tensor.ndim), key=tensor.stride, reverse=True)
    return tensor.permute(order).is_contiguous() and (rows == 1 or order[0] == 0)
