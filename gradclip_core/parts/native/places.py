"""Where tensors lie: asked of PyTorch in one call for a whole list, in place of five for each.

PyTorch fills in a description of a tensor (DLPack's exchange API, dmlc/dlpack 1.x, a stable C
interface) at the call of C code, which costs a tenth of `data_ptr`, `numel`, `is_contiguous`,
`dtype` and `is_cpu` from Python. What it does not say, how much memory there is, is asked of
PyTorch's own stable C interface: a storage may have been shrunk under its tensors.
"""

from __future__ import annotations

import ctypes
import sys
from array import array
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

# Takes tensors; gives what they are for the kernel, and five numbers of each: see `locator`.
Locator: TypeAlias = Callable[[list[Tensor]], tuple[int, "array[int]"] | None]

_layout = attrgetter("layout")
_STRIDED = {torch.strided}


class _Api(ctypes.Structure):
    """What the kernel has to know of CPython and PyTorch; see locate.c."""

    _fields_ = (
        ("item", ctypes.c_void_p),
        ("describe", ctypes.c_void_p),
        ("storage_size", ctypes.c_void_p),
        ("storage_offset", ctypes.c_void_p),
        ("tensor_at", ctypes.c_int64),
    )


def locator(library: str) -> Locator | None:
    """A function that says where tensors lie; None where PyTorch does not tell it.

    library: the path of the compiled kernel. The function takes tensors of no subclass and
    returns their dtype, as the kernel counts them, and, n of each: addresses, ones, numbers of
    elements, lengths of the first dimension (1 below two dimensions), elements per index of it.
    It returns None unless all are contiguous, on the CPU, of one floating-point dtype, not empty,
    wholly inside their storage and without memory in common.
    """
    api = _api()
    if api is None:
        return None
    call = ctypes.PyDLL(library).gradclip_locate  # keeps Python's lock: what `api` names needs it
    call.argtypes = [ctypes.py_object, ctypes.c_int64, ctypes.POINTER(_Api), ctypes.c_void_p]
    by_reference = ctypes.byref(api)
    refused = False

    def locate(tensors: list[Tensor]) -> tuple[int, array[int]] | None:
        nonlocal refused
        # PyTorch takes 4 ms to raise for a sparse tensor: after the first time it is asked before.
        if refused and set(map(_layout, tensors)) != _STRIDED:
            return None
        n = len(tensors)
        numbers = array("q", bytes(40 * n))
        try:
            kind = call(tensors, n, by_reference, numbers.buffer_info()[0])
        except (RuntimeError, BufferError):
            refused = True
            return None
        return None if kind < 0 else (kind, numbers)

    return locate


def _api() -> _Api | None:
    """The addresses of CPython's function for an item of a list, and of PyTorch's for a tensor."""
    if sys.implementation.name != "cpython":
        return None
    capsule = getattr(Tensor, "__dlpack_c_exchange_api__", None)
    storage, tensor_at = _of_storage(), _place_in_object()
    if capsule is None or storage is None or tensor_at is None:
        return None
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    api = pointer_of(capsule, b"dlpack_exchange_api")
    # struct DLPackExchangeAPI: a header of the version and a pointer, then functions; see dlpack.h.
    pointers = (ctypes.c_void_p * 7).from_address(api)
    if ctypes.c_uint32.from_address(api).value != 1 or not pointers[5]:
        return None
    return _Api(_address(ctypes.pythonapi.PyList_GetItem), pointers[5], *storage, tensor_at)


def _of_storage() -> tuple[int, int] | None:
    """PyTorch's C functions for the bytes of a tensor's storage and the elements before its own."""
    torch_cpu = _loaded_torch()
    names = "aoti_torch_get_storage_size", "aoti_torch_get_storage_offset"
    if not all(hasattr(torch_cpu, name) for name in names):
        return None
    size, offset = (_address(getattr(torch_cpu, name)) for name in names)
    return size, offset


def threads_of_torch() -> int | None:
    """Where PyTorch's OpenMP library starts a team of its threads; None where it has no such one.

    The library that PyTorch is linked with, not another of its kind in the process.
    """
    start = getattr(_loaded_torch(), "GOMP_parallel", None)
    return None if start is None else _address(start)


def _loaded_torch() -> ctypes.CDLL | None:
    """PyTorch's library for the CPU, which is loaded already; None where it is not found."""
    folder = Path(torch.__file__).with_name("lib")
    paths = [folder / f"libtorch_cpu.{ending}" for ending in ("so", "dylib")]
    return next((ctypes.CDLL(str(path)) for path in paths if path.exists()), None)


def _place_in_object() -> int | None:
    """At how many bytes a Python tensor holds its C++ tensor, a pointer that `_cdata` tells."""
    tensor: Any = torch.empty(0, device="cpu")
    words = (ctypes.c_void_p * (torch._C.TensorBase.__basicsize__ // 8)).from_address(id(tensor))
    places = [8 * i for i, word in enumerate(words) if word == tensor._cdata]
    return places[0] if len(places) == 1 else None


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0
