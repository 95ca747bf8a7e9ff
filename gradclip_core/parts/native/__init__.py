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
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from gradclip_core.parts.native.build import compiled

_ORDERS = {math.inf: 0, 1.0: 1, 2.0: 2}
_TYPES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}
_PLAIN = {Tensor, nn.Parameter}
_dtype, _is_cpu = attrgetter("dtype"), attrgetter("is_cpu")


def available() -> bool:
    """Whether the compiled kernel is in use; compiles it if that was not tried before."""
    return library() is not None


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernel; None where it is turned off or cannot be had."""
    path = None if os.environ.get("GRADCLIP_NATIVE") == "0" else compiled()
    try:
        kernel = None if path is None else ctypes.CDLL(str(path))
    except OSError:
        return None
    if kernel is not None:
        number, many, address = ctypes.c_int, ctypes.c_int64, ctypes.c_void_p
        tensors: list[Any] = [many, address, address, address, number]
        kernel.gradclip_measure.argtypes = [*tensors, number, number, address]
        kernel.gradclip_scale.argtypes = [*tensors, number, number, address]
        kernel.gradclip_clamp.argtypes = [*tensors, number, number, address, address]
        kernel.gradclip_total.argtypes = [many, address, number]
        kernel.gradclip_total.restype = ctypes.c_double
    return kernel


class Batch:
    """Tensors as the kernel takes them: where they lie, and their rows and columns.

    A tensor that was not divided into rows is one row. Numbers for each row come and go as
    float64 tensors.
    """

    __slots__ = ("_keep", "_kernel", "_place", "num_rows", "tensors")

    def __init__(
        self, kernel: ctypes.CDLL, tensors: list[Tensor], heights: array[int], widths: array[int]
    ) -> None:
        self._kernel = kernel
        self.tensors = tensors
        self.num_rows = sum(heights)
        self._keep = array("q", map(Tensor.data_ptr, tensors)), heights, widths
        places = (numbers.buffer_info()[0] for numbers in self._keep)
        self._place = (len(tensors), *places, _TYPES[tensors[0].dtype])

    def norms(self, norm_type: float) -> Tensor:
        """The norm of each row, of order 1, 2 or inf."""
        out = torch.empty(self.num_rows, dtype=torch.float64)
        order, threads = _ORDERS[norm_type], torch.get_num_threads()
        self._kernel.gradclip_measure(*self._place, order, threads, out.data_ptr())
        return out

    def total(self, norms: Tensor, norm_type: float) -> float:
        """The norm of all rows together, from the norm of each."""
        norm: float = self._kernel.gradclip_total(
            self.num_rows, norms.data_ptr(), _ORDERS[norm_type]
        )
        return norm

    def scale(self, factors: Tensor | float) -> None:
        """Multiply each row by its factor, or all by one, in place."""
        each, at = _numbers(factors)
        self._kernel.gradclip_scale(*self._place, each, torch.get_num_threads(), at)
        torch.autograd.graph.increment_version(self.tensors)

    def clamp(self, bounds: Tensor | float) -> Tensor:
        """Bound the magnitudes in each row by its bound, or in all by one, in place.

        Returns the largest magnitude that each row had. NaN and inf stay as they are.
        """
        out = torch.empty(self.num_rows, dtype=torch.float64)
        each, at = _numbers(bounds)
        threads = torch.get_num_threads()
        self._kernel.gradclip_clamp(*self._place, each, threads, at, out.data_ptr())
        if (out > bounds).any():
            torch.autograd.graph.increment_version(self.tensors)
        return out


def _numbers(values: Tensor | float) -> tuple[bool, object]:
    """Whether there is a number for each row, and where the numbers lie."""
    if isinstance(values, Tensor):
        return True, values.data_ptr()
    return False, ctypes.byref(ctypes.c_double(values))


def supports(norm_type: float) -> bool:
    """Whether the kernel takes norms of this order."""
    return norm_type in _ORDERS


def batch(
    tensors: list[Tensor], rows: Sequence[int] | None = None, sizes: array[int] | None = None
) -> Batch | None:
    """The tensors as the kernel takes them; None where it cannot: PyTorch has to do it then.

    It takes dense CPU tensors of one floating-point dtype. `rows`: the number of rows of each
    tensor, which have to be pieces of its memory, one after the other; None: one. `sizes`: their
    numbers of elements where they are known to be plain contiguous tensors that are not empty.
    """
    kernel = library()
    if kernel is None or not tensors or tensors[0].dtype not in _TYPES:
        return None
    if sizes is None and not set(map(type, tensors)) <= _PLAIN:
        return None
    if len(set(map(_dtype, tensors))) > 1 or not on_cpu(tensors):
        return None
    heights = array("q", (1,)) * len(tensors) if rows is None else array("q", rows)
    if sizes is None:
        sizes = array("q", map(Tensor.numel, tensors))
        if 0 in sizes or not all(map(_in_one_piece, tensors, heights)):
            return None
    if rows is not None:
        sizes = array("q", [n // k for n, k in zip(sizes, heights, strict=True)])
    return Batch(kernel, tensors, heights, sizes)


def on_cpu(tensors: Sequence[Tensor]) -> bool:
    """Whether all tensors lie on the CPU; asks one of them where there is no other device."""
    return bool(tensors[0].is_cpu) and (_only_cpu() or all(map(_is_cpu, tensors)))


@functools.cache
def _only_cpu() -> bool:
    return not torch.accelerator.is_available()


def _in_one_piece(tensor: Tensor, rows: int) -> bool:
    """Whether the elements fill one stretch of memory, row by row, in whatever order of theirs."""
    if tensor.is_contiguous():
        return True
    order = sorted(range(tensor.ndim), key=tensor.stride, reverse=True)
    return tensor.permute(order).is_contiguous() and (rows == 1 or order[0] == 0)
