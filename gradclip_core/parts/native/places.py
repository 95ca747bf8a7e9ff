"""Where tensors lie: asked of PyTorch in one call for a whole list, in place of five for each.

PyTorch fills in a description of a tensor (DLPack's exchange API, dmlc/dlpack 1.x, a stable C
interface) at the call of C code, which costs a tenth of `data_ptr`, `numel`, `is_contiguous`,
`dtype` and `is_cpu` from Python.
"""

from __future__ import annotations

import ctypes
import sys
from array import array
from collections.abc import Callable
from operator import attrgetter
from typing import TypeAlias

import torch
from torch import Tensor

# Takes tensors; gives what they are for the kernel, and five numbers of each: see `locator`.
Locator: TypeAlias = Callable[[list[Tensor]], tuple[int, "array[int]"] | None]

_layout = attrgetter("layout")
_STRIDED = {torch.strided}


def locator(library: str) -> Locator | None:
    """A function that says where tensors lie; None where PyTorch does not tell it.

    library: the path of the compiled kernel. The function takes tensors of no subclass and
    returns their dtype, as the kernel counts them, and, n of each: addresses, ones, numbers of
    elements, lengths of the first dimension (1 below two dimensions), elements per index of it.
    It returns None unless all are contiguous, on the CPU, of one floating-point dtype, not empty.
    """
    functions = _functions()
    if functions is None:
        return None
    call = ctypes.PyDLL(library).gradclip_locate  # keeps Python's lock: `functions` need it
    address = ctypes.c_void_p
    call.argtypes = [ctypes.py_object, ctypes.c_int64, address, address, address]
    refused = False

    def locate(tensors: list[Tensor]) -> tuple[int, array[int]] | None:
        nonlocal refused
        # PyTorch takes 4 ms to raise for a sparse tensor: after the first time it is asked before.
        if refused and set(map(_layout, tensors)) != _STRIDED:
            return None
        n = len(tensors)
        numbers = array("q", bytes(40 * n))
        try:
            kind = call(tensors, n, *functions, numbers.buffer_info()[0])
        except (RuntimeError, BufferError):
            refused = True
            return None
        return None if kind < 0 else (kind, numbers)

    return locate


def _functions() -> tuple[int, int] | None:
    """The addresses of CPython's function for an item of a list, and PyTorch's for a tensor."""
    capsule = getattr(Tensor, "__dlpack_c_exchange_api__", None)
    if capsule is None or sys.implementation.name != "cpython":
        return None
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    api = pointer_of(capsule, b"dlpack_exchange_api")
    # struct DLPackExchangeAPI: a header of the version and a pointer, then functions; see dlpack.h.
    pointers = (ctypes.c_void_p * 7).from_address(api)
    item = ctypes.cast(ctypes.pythonapi.PyList_GetItem, ctypes.c_void_p).value
    if ctypes.c_uint32.from_address(api).value != 1 or not pointers[5] or not item:
        return None
    return item, pointers[5]
