"""Gradients that can be measured and written, and one clear line for each of those that cannot.

Everything is refused before anything was changed: an operation of PyTorch that fails half-way, or
a tensor without the memory that it speaks of, would leave a step clipped in part, or no process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import add, attrgetter, le

import torch
from torch import Tensor, nn

_TAKEN = {
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
}
_PLAIN = {Tensor, nn.Parameter}
_device, _dtype, _is_cpu = attrgetter("device"), attrgetter("dtype"), attrgetter("is_cpu")
_offset = Tensor.storage_offset


def all_usable(grads: list[Tensor]) -> bool:
    """Whether tensors of no subclass are contiguous, on one device and of one dtype, and usable.

    Asked of all at once, which takes a fraction of asking each; False is no refusal.
    """
    dtypes = set(map(_dtype, grads))
    try:
        if len(dtypes) > 1 or not dtypes <= _TAKEN:
            return False
        if not all(map(_is_cpu, grads)) and len(set(map(_device, grads))) > 1:
            return False
        if not all(map(Tensor.is_contiguous, grads)) or any(map(Tensor.is_inference, grads)):
            return False
        if any(map(Tensor.is_neg, grads)) or (
            grads[0].is_complex() and any(map(Tensor.is_conj, grads))
        ):
            return False
        starts = list(map(Tensor.data_ptr, grads))
        held = list(map(torch.UntypedStorage.nbytes, map(Tensor.untyped_storage, grads)))
        sizes = list(map(grads[0].itemsize.__mul__, map(Tensor.numel, grads)))
        if 0 in starts or 0 in sizes:
            return False
        if (held != sizes or any(map(_offset, grads))) and any(map(_is_shrunk, grads)):
            return False
    except RuntimeError:  # sparse layouts, and the wrappers of torch.func, do not say
        return False
    return _are_apart(starts, map(add, starts, sizes))


def _are_apart(starts: Iterable[int], ends: Iterable[int]) -> bool:
    """Whether no two stretches of memory meet: each ends before the next one starts."""
    following = islice(sorted(starts), 1, None)
    return all(map(le, sorted(ends), following))


def check_kind(grad: Tensor, name: str) -> None:
    """Raise TypeError for a gradient whose numbers cannot be reached, naming its parameter."""
    if torch._C._functorch.is_functorch_wrapped_tensor(grad):
        raise _refused(name, "belongs to a transform of torch.func", "clip outside of it")
    if type(grad).__torch_dispatch__ is not Tensor.__torch_dispatch__:
        kind = type(grad).__name__
        raise _refused(name, f"is a {kind}, whose numbers lie elsewhere", "clip a plain tensor")
    if grad.is_nested or grad.layout not in (torch.strided, torch.sparse_coo):
        kind = "nested" if grad.is_nested else f"of layout {grad.layout}"
        raise _refused(name, f"is {kind}", "strided and COO tensors are taken")
    if grad.dtype not in _TAKEN:
        allowed = "real and complex floating-point numbers of 16 to 128 bits are taken"
        raise _refused(name, f"has the dtype {grad.dtype}", allowed)


def usable(grad: Tensor, name: str) -> Tensor:
    """A strided gradient of a kind that is taken as a plain tensor to write, on the same memory.

    Raises ValueError where it cannot be written element by element, naming the parameter.
    """
    if type(grad) not in _PLAIN:
        with torch._C.DisableTorchFunctionSubclass():
            grad = grad.as_subclass(Tensor)
    if grad.device.type == "meta":
        return grad
    if grad.data_ptr() == 0 or _is_shrunk(grad):
        held = grad.untyped_storage().nbytes() if grad.data_ptr() else 0
        what = f"has {grad.numel()} elements of {grad.itemsize} bytes and a storage of {held}"
        raise ValueError(f"the gradient of {name} {what}: do not resize the storage, or clone it")
    if _overlaps(grad):
        where = f"shape {tuple(grad.shape)}, strides {grad.stride()}"
        raise ValueError(f"elements of the gradient of {name} share memory ({where}): clone it")
    # PyTorch writes to such a tensor in inference mode alone; a gradient has no graph to spoil.
    if grad.is_inference() and not torch.is_inference_mode_enabled():
        return torch.utils.dlpack.from_dlpack(grad)
    return grad


def check_together(grads: Sequence[Tensor], names: Sequence[str]) -> None:
    """Raise ValueError where gradients share memory, or only some have none, being on meta.

    names: those of their parameters.
    """
    on_meta = [grad.device.type == "meta" for grad in grads]
    if any(on_meta):
        if not all(on_meta):
            there, here = names[on_meta.index(True)], names[on_meta.index(False)]
            raise ValueError(
                f"the gradient of {there} is on the device meta, which holds no numbers, "
                f"and that of {here} is not: clip them apart"
            )
        return
    shared = _first_shared(grads)
    if shared is not None:
        both = " and ".join(names[i] for i in shared)
        raise ValueError(
            f"the gradients of {both} share memory, so that clipping one would clip the other "
            "again: clone one"
        )


def _is_shrunk(grad: Tensor) -> bool:
    """Whether the storage ends before the tensor does."""
    extent = _span(grad) + grad.storage_offset()
    return grad.untyped_storage().nbytes() < extent * grad.itemsize


def _overlaps(grad: Tensor) -> bool:
    """Whether two elements lie at one place."""
    reach = 0
    for stride, size in sorted(zip(grad.stride(), grad.shape, strict=True)):
        if size > 1 and stride <= reach:
            return len(torch.unique(_places(grad))) < grad.numel() * grad.itemsize
        reach += (size - 1) * stride
    return False


def _first_shared(grads: Sequence[Tensor]) -> tuple[int, int] | None:
    """The positions of the first two tensors with a byte in common."""
    for i, j in _meeting([_extent(grad) for grad in grads]):
        # Columns of one matrix meet and share nothing.
        if torch.isin(_places(grads[i]), _places(grads[j])).any():
            return i, j
    return None


def _meeting(extents: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The positions of every two stretches of memory that meet."""
    order = sorted((start, end, i) for i, (start, end) in enumerate(extents))
    open_ends: list[tuple[int, int]] = []
    for start, end, i in order:
        open_ends = [(other_end, j) for other_end, j in open_ends if other_end > start]
        yield from ((min(i, j), max(i, j)) for _, j in open_ends)
        open_ends.append((end, i))


def _span(grad: Tensor) -> int:
    """The number of elements from the first to the last in memory."""
    pairs = zip(grad.stride(), grad.shape, strict=True)
    return 1 + sum(stride * (size - 1) for stride, size in pairs)


def _extent(grad: Tensor) -> tuple[int, int]:
    """The addresses where a tensor begins and ends."""
    return grad.data_ptr(), grad.data_ptr() + _span(grad) * grad.itemsize


def _places(grad: Tensor) -> Tensor:
    """The addresses of all bytes."""
    places = torch.tensor(grad.data_ptr(), device="cpu")
    for stride, size in zip(grad.stride(), grad.shape, strict=True):
        places = places.unsqueeze(-1) + stride * grad.itemsize * torch.arange(size, device="cpu")
    return (places.unsqueeze(-1) + torch.arange(grad.itemsize, device="cpu")).flatten()


def _refused(name: str, what: str, cure: str) -> TypeError:
    return TypeError(f"the gradient of {name} {what}: {cure}")
