"""The functions of `torch.nn.utils.clip_grad`, for lines that call those.

They take the same arguments and mean the same, so that changing the import changes nothing but
this: norms of CPU gradients come from the compiled kernel, half-precision norms do not overflow
on the way, an empty iterable of any kind warns, `None` as the bound clips nothing, and a norm may
be that of several processes (`group`). With `foreach` given, under `torch.compile` and for
tensors of other kinds (DTensor, sparse) PyTorch's own code runs.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Iterable
from types import SimpleNamespace
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import utils
from torch.optim import Optimizer

from gradclip_core.parts import native
from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.norms import NormType, parameter_norms, total
from gradclip_core.parts.responses import multiply

Tensors: TypeAlias = Tensor | Iterable[Tensor]
# As they are now: a program may put the functions below in their place.
_torch_utils = SimpleNamespace(**vars(utils))


def get_total_norm(
    tensors: Tensors,
    norm_type: NormType = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
    *,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """The norm of all tensors as one vector, 0-d, in their dtype, on the device of the first.

    Examples:
        >>> import torch
        >>> from gradclip_core.functional import get_total_norm
        >>> get_total_norm([torch.tensor([3.0]), torch.tensor([4.0])])
        tensor(5.)

    Args:
        tensors: gradients themselves, or one.
        norm_type: the order, a number or "inf".
        error_if_nonfinite: raise RuntimeError where the norm is NaN or inf; reads it on CUDA.
        foreach: None leaves the way to this function; True and False are PyTorch's.
        group: processes that hold other tensors of the same model, as the stages of a pipeline do:
            the norm is that of all; every one of them has to call.

    norm = get_total_norm([p.grad for p in experts], group=expert_group)

    Zero without tensors.
    """
    held, order = _listed(tensors), float(norm_type)
    if _leave_to_torch(held, order, foreach):
        norm: Tensor = _torch_utils.get_total_norm(held, order, False, foreach)
        wide = norm
    else:
        wide = _norm(held, order)
        norm = wide.to(_dtype_of(held))
    if group is not None:
        wide = _over(group, wide, order)
        norm = wide.to(norm.dtype)
    if error_if_nonfinite and not bool(wide.isfinite()):
        _refuse(order)
    return norm


def clip_grads_with_norm_(
    parameters: Tensors,
    max_norm: float | None,
    total_norm: Tensor,
    foreach: bool | None = None,
) -> None:
    """Scale all gradients by min(1, max_norm / (total_norm + 1e-6)), in place.

    Examples:
        >>> import torch
        >>> from gradclip_core.functional import clip_grads_with_norm_
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> clip_grads_with_norm_([weight], 1.0, torch.tensor(50.0))  # of all processes, say
        >>> weight.grad
        tensor([0.0600, 0.0800])

    Args:
        parameters: parameters, or one, whose gradients are clipped.
        max_norm: the bound; None clips nothing.
        total_norm: a norm from anywhere, such as `get_total_norm(..., group=...)`, 0-d.
        foreach: None leaves the way to this function; True and False are PyTorch's.
    """
    held = _listed(parameters)
    grads = _gradients(held)
    if max_norm is None or not grads:
        return
    if _leave_to_torch(grads, 2.0, foreach):
        _torch_utils.clip_grads_with_norm_(held, max_norm, total_norm, foreach)
        return
    _scale(grads, float(max_norm), total_norm)


def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float | None,
    norm_type: NormType = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
    *,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Scale all gradients so that their joint norm is at most `max_norm`; return what it was, 0-d.

    Examples:
        >>> import torch
        >>> from gradclip_core.functional import clip_grad_norm_
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> clip_grad_norm_([weight], 1.0)
        tensor(5.)
        >>> weight.grad
        tensor([0.6000, 0.8000])

    `get_total_norm` and `clip_grads_with_norm_` in one, whose arguments these are.

    Args:
        parameters: parameters, or one, whose gradients are clipped.
        max_norm: the bound; None clips nothing.
        norm_type: the order, a number or "inf".
        error_if_nonfinite: raise RuntimeError where the norm is NaN or inf; reads it on CUDA.
        foreach: None leaves the way to this function; True and False are PyTorch's.
        group: processes that hold other parameters of the same model; see `get_total_norm`.
    """
    held = _listed(parameters, warn=True)
    grads = _gradients(held)
    if group is None and _leave_to_torch(grads, float(norm_type), foreach):
        bound = math.inf if max_norm is None else max_norm
        norm: Tensor = _torch_utils.clip_grad_norm_(
            held, bound, norm_type, error_if_nonfinite, foreach
        )
        return norm
    order, dtype = float(norm_type), _dtype_of(grads)
    wide = _norm(grads, order)
    if group is not None:
        wide = _over(group, wide, order)
    if error_if_nonfinite and not bool(wide.isfinite()):
        _refuse(order)
    if max_norm is not None and grads:
        _scale(grads, float(max_norm), wide)
    return wide.to(dtype)


def clip_grad_value_(
    parameters: Tensors, clip_value: float | None, foreach: bool | None = None
) -> None:
    """Clamp every element of the gradients to [-clip_value, clip_value], in place; None: nothing.

    Examples:
        >>> import torch
        >>> from gradclip_core.functional import clip_grad_value_
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> clip_grad_value_([weight], 3.5)
        >>> weight.grad
        tensor([3.0000, 3.5000])

    Args:
        parameters: parameters, or one, whose gradients are clipped.
        clip_value: the bound; None clips nothing.
        foreach: None leaves the way to this function; True and False are PyTorch's.
    """
    held = _listed(parameters, warn=True)
    grads = _gradients(held)
    if clip_value is None or not grads:
        return
    bound = float(clip_value)
    own = foreach is None and not torch.compiler.is_compiling() and bound > 0
    batch = native.batch(grads) if own else None
    if batch is None:
        _torch_utils.clip_grad_value_(held, bound, foreach)
        return
    largest, _ = batch.clamp(bound)
    if not largest < math.inf:  # the kernel leaves what is not finite
        _torch_utils.clip_grad_value_(held, bound)


def _listed(tensors: Tensors, *, warn: bool = False) -> list[Tensor]:
    if isinstance(tensors, nn.Module | Optimizer):
        raise _no_tensors(type(tensors))
    held = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    if not torch.compiler.is_compiling():
        for kind in set(map(type, held)):
            if not issubclass(kind, Tensor):
                raise _no_tensors(kind)
    if warn and not held and not torch.compiler.is_compiling():
        warnings.warn(
            "`parameters` is an empty iterable, no gradient clipping will occur", stacklevel=3
        )
    return held


def _no_tensors(kind: type) -> TypeError:
    return TypeError(
        f"the functions of torch.nn.utils take tensors alone, got {kind.__name__}: pass "
        "model.parameters(), or call a clipper, which takes models, optimizers and names"
    )


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    return [param.grad for param in parameters if param.grad is not None]


def _leave_to_torch(tensors: list[Tensor], order: float, foreach: bool | None) -> bool:
    """Whether PyTorch's own code has to run."""
    if foreach is not None or torch.compiler.is_compiling() or not order > 0:
        return True
    return not all(
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.layout is torch.strided
        and tensor.is_floating_point()
        for tensor in tensors
    )


@torch.no_grad()
def _norm(tensors: list[Tensor], order: float) -> Tensor:
    """The norm, 0-d, in float64 where the device has it."""
    if not tensors:
        return torch.zeros((), dtype=torch.float64)
    places = range(len(tensors))
    names: list[str | None] = [None] * len(tensors)
    # Empty tensors have no largest element.
    present = [i for i in places if tensors[i].numel()]
    grads = [tensors[i] for i in present]
    if not grads:
        return tensors[0].new_zeros((), dtype=torch.float64)
    found = Gradients(tensors, names, [0] * len(tensors), present, grads)
    return total(parameter_norms(found, order), order)


def _dtype_of(tensors: list[Tensor]) -> torch.dtype:
    """The dtype that PyTorch's norm has: that to which those of the tensors promote."""
    if not tensors:
        return torch.get_default_dtype()
    return functools.reduce(torch.promote_types, [tensor.dtype for tensor in tensors])


@torch.no_grad()
def _scale(grads: list[Tensor], bound: float, norm: Tensor) -> None:
    factor = (bound / (norm.to(torch.float64) + 1e-6)).clamp(max=1.0)
    if factor.device.type != "cpu" or not bool(factor == 1):
        multiply(grads, factor, batch=native.batch(grads) if factor.is_cpu else None)


def _over(group: dist.ProcessGroup, norm: Tensor, order: float) -> Tensor:
    """The norm of all that the processes of a group hold."""
    if math.isinf(order):
        largest = norm.clone()
        dist.all_reduce(largest, dist.ReduceOp.MAX, group=group)
        return largest
    largest = _over(group, norm, math.inf)
    # Powers of shares of the largest do not overflow.
    scale = torch.where(largest.isfinite() & (largest > 0), largest, 1.0)
    powers = (norm / scale) ** order
    dist.all_reduce(powers, group=group)
    return scale * powers ** (1 / order)


def _refuse(order: float) -> None:
    raise RuntimeError(
        f"The total norm of order {order} for gradients from `parameters` is non-finite, so it "
        "cannot be clipped. To disable this error and scale the gradients by the non-finite norm "
        "anyway, set `error_if_nonfinite=False`"
    )
