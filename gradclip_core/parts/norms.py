"""Measure: how large the gradient of each parameter is, and of each part.

Norms are accumulated and returned in float64 (float32 on devices without it), whatever the
dtype of the gradients: an fp16 norm overflows at 65,504 and a bf16 norm keeps three digits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from gradclip_core.checks import check_number
from gradclip_core.parts import native, sharding
from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.partition import Partition
from gradclip_core.parts.reductions import norms_in_few_calls, norms_of_segments

Measure: TypeAlias = Literal["norm", "rms", "spectral"]
# The order of a norm as a user gives it.
NormType: TypeAlias = float | Literal["inf"]

_dtype = attrgetter("dtype")

# A norm below this may come from squares that lost digits, or vanished, in float32.
SMALL = 1e-15


@dataclass(frozen=True, slots=True)
class Parts:
    """The measured parts of one step's gradient, as a threshold sees them.

    `norms` (k,) is the norm of each part; `usable` (k,) is true where that norm is finite and
    positive, so that a statistic may take it in. `norm_type` and `measure` say what the norms
    are, so that a threshold can measure something else in the same way.
    """

    norms: Tensor
    usable: Tensor
    partition: Partition
    gradients: Gradients
    norm_type: float = 2.0
    measure: Measure = "norm"


def scalar_dtype(device: torch.device) -> torch.dtype:
    """The dtype in which norms, thresholds and statistics live on a device."""
    return torch.float32 if device.type == "mps" else torch.float64


def check_norm_type(norm_type: NormType) -> float:
    """Return the order of a norm, a number or "inf", as a float > 0; else raise ValueError."""
    order = math.inf if norm_type == "inf" else norm_type
    return check_number("norm_type", order, "a number > 0 or inf", lambda order: order > 0)


def parameter_norms(gradients: Gradients, norm_type: float = 2.0) -> Tensor:
    """The p-norm of each parameter's gradient: (n,), zero where a parameter has none.

    Runs without a host synchronisation on CUDA. On CPU a norm that overflows or vanishes in
    float32 is taken again in float64, so that `inf` there means that an element is not finite
    and 0 that all elements are 0.
    """
    device = gradients.device
    result = torch.zeros(len(gradients.params), dtype=scalar_dtype(device), device=device)
    if not gradients.grads:
        return result
    if device.type == "cpu" and native.on_cpu(gradients.grads):
        norms = norms_on_cpu(gradients, norm_type)
    else:
        pieces = _norms(gradients.grads, norm_type)
        norms = torch.stack([n if n.device == device else n.to(device) for n in pieces])
        norms = norms.to(result.dtype)
    if len(gradients.present) == len(gradients.params):
        return sharding.whole(norms, gradients, norm_type)
    result.index_copy_(0, torch.tensor(gradients.present, device=device), norms)
    return sharding.whole(result, gradients, norm_type)


def norms_on_cpu(gradients: Gradients, norm_type: float) -> Tensor:
    """The norm of each gradient, (n,), with every overflow and underflow mended."""
    batch = gradients.batch() if native.supports(norm_type) else None
    if batch is not None:
        return batch.norms(norm_type)[1]
    norms = norms_by_pytorch(gradients.grads, norm_type)
    return torch.tensor(norms, dtype=torch.float64, device="cpu")


def norms_by_pytorch(grads: list[Tensor], norm_type: float) -> list[float]:
    """The same without the kernel, as plain numbers."""
    if any(dtype.is_complex for dtype in set(map(_dtype, grads))):
        return [_vector_norm(grad, norm_type).item() for grad in grads]
    if native.supports(norm_type):
        norms = norms_in_few_calls(grads, norm_type)
    else:
        norms = torch.stack(torch._foreach_norm(grads, norm_type, dtype=torch.float64)).tolist()
    if not (min(norms) > SMALL and max(norms) < math.inf):
        for i, norm in enumerate(norms):
            if not SMALL < norm < math.inf:
                norms[i] = _vector_norm(grads[i], norm_type).item()
    return norms


def total_of_numbers(norms: list[float], norm_type: float) -> float:
    """The p-norm of plain numbers >= 0, of which there is one at least; see `total`."""
    if norm_type == 2.0:
        return math.hypot(*norms)
    return total(torch.tensor(norms, dtype=torch.float64, device="cpu"), norm_type).item()


def _norms(grads: list[Tensor], norm_type: float) -> list[Tensor]:
    """One 0-d norm per gradient, in one call for all of a device and dtype."""
    if any(grad.is_complex() for grad in grads):
        return [_vector_norm(grad, norm_type) for grad in grads]
    norms = [grads[0]] * len(grads)
    batches: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for i, grad in enumerate(grads):
        batches.setdefault((grad.device, grad.dtype), []).append(i)
    for where in batches.values():
        batch = [grads[i] for i in where]
        dtype = _accumulator(batch[0], norm_type)
        for i, norm in zip(where, torch._foreach_norm(batch, norm_type, dtype=dtype), strict=True):
            norms[i] = norm
    return norms


def _accumulator(grad: Tensor, norm_type: float) -> torch.dtype:
    """Float32 holds sums and squares; higher powers of small elements vanish in it."""
    if grad.dtype is torch.float64 or norm_type not in (1.0, 2.0, math.inf):
        return scalar_dtype(grad.device)
    return torch.float32


def _vector_norm(grad: Tensor, norm_type: float) -> Tensor:
    values = grad.abs() if grad.is_complex() else grad
    return total(values.to(scalar_dtype(grad.device)).flatten(), norm_type)


def total(norms: Tensor, norm_type: float) -> Tensor:
    """The p-norm of a vector, 0-d: also of a concatenation, from the norms of its pieces.

    Powers are taken of the ratio to the largest entry wherever they could overflow.
    """
    if not norms.numel():
        return norms.new_zeros(())
    if norms.device.type == "cpu":
        norm = _plain_norm(norms, norm_type)
        return norm if 0 < norm < math.inf else _scaled_norm(norms, norm_type)
    # float32 norms stay below 3.4e38, so powers up to 8 of them fit into float64.
    small_power = norm_type <= 8 or math.isinf(norm_type)
    if small_power:
        return _plain_norm(norms, norm_type)
    return _scaled_norm(norms, norm_type)


def _plain_norm(norms: Tensor, norm_type: float) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(norms, norm_type)
    return norm


def _scaled_norm(norms: Tensor, norm_type: float) -> Tensor:
    peak = norms.abs().amax()
    scale = torch.where(peak.isfinite() & (peak > 0), peak, 1.0)
    return scale * _plain_norm(norms / scale, norm_type)


def combine(norms: Tensor, partition: Partition, norm_type: float) -> Tensor:
    """Norms of the parts (k,) from norms of the parameters (n,): n_P = ||(n_i), i in P||_p."""
    if partition.is_parameter:
        return norms
    if partition.is_model:
        return total(norms, norm_type).view(1)
    order = [position for part in partition.members for position in part]
    return segment_totals(norms[order], [len(part) for part in partition.members], norm_type)


def segment_totals(norms: Tensor, lengths: Sequence[int], norm_type: float) -> Tensor:
    """The p-norm of each of the segments that a vector of norms falls into."""
    if norms.device.type != "cpu":
        return torch.stack([total(piece, norm_type) for piece in torch.split(norms, list(lengths))])
    totals = norms_of_segments(norms, lengths, norm_type)
    regular = (totals > 0) & totals.isfinite()
    if not regular.all():
        pieces = torch.split(norms, list(lengths))
        for i in (~regular).nonzero().flatten().tolist():
            totals[i] = total(pieces[i], norm_type)
    return totals
