"""Measuring gradients, or anything of their shape, part by part."""

from __future__ import annotations

import math
from typing import get_args

import torch
from torch import Tensor

from gradclip_core.checks import check_choice
from gradclip_core.parts import norms, sharding
from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.norms import Measure
from gradclip_core.parts.partition import By, Partition
from gradclip_core.parts.rows import row_norms
from gradclip_core.parts.spectral import spectral_norms


def check_measure(measure: Measure, norm_type: float, by: By) -> Measure:
    """Return a measure unchanged; raise ValueError if it is none, or not of such parts."""
    check_choice("measure", measure, get_args(Measure))
    if measure == "spectral" and norm_type != 2.0:
        raise ValueError(f"norm_type must be 2 with measure='spectral', got {norm_type!r}")
    if measure == "spectral" and by == "row":
        raise ValueError(
            "by must not be 'row' with measure='spectral', got 'row': the only singular value of a "
            "row is its norm"
        )
    return measure


def order_of(measure: Measure, norm_type: float) -> float:
    """The order in which the norms of parts make the norm of the whole."""
    return math.inf if measure == "spectral" else norm_type


def measure_parts(
    gradients: Gradients,
    partition: Partition,
    norm_type: float,
    measure: Measure,
    enough: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The size of each part (k,) and of each parameter (n,).

    "norm" is the p-norm, "rms" the p-norm / D^(1/p) with D the number of elements, of a sparse
    gradient too, so that it does not grow with the part. "spectral" is the largest singular value,
    of several matrices that of the largest. Only parameters that are present count.

    enough: see `spectral_norms`.
    """
    if measure == "spectral":
        per_parameter = spectral_norms(gradients, enough)
        return norms.combine(per_parameter, partition, math.inf), per_parameter
    if partition.rows is None:
        per_parameter = norms.parameter_norms(gradients, norm_type)
        per_part = norms.combine(per_parameter, partition, norm_type)
    else:
        per_part = row_norms(gradients, norm_type)
        per_parameter = per_part
        if partition.rows:
            per_parameter = norms.segment_totals(per_part, partition.rows, norm_type)
    if measure == "rms":
        each = Partition(tuple((i,) for i in range(len(per_parameter))), len(per_parameter))
        per_part = per_part / part_sizes(gradients, partition).clamp(min=1) ** (1 / norm_type)
        per_parameter = per_parameter / part_sizes(gradients, each).clamp(min=1) ** (1 / norm_type)
    return per_part, per_parameter


def part_sizes(gradients: Gradients, partition: Partition) -> Tensor:
    """The number of elements of each part, of the parameters that are present: (k,)."""
    numel = [0] * len(gradients.params)
    for position in sharding.present_anywhere(gradients):
        numel[position] = gradients.params[position].numel()
    device, dtype = gradients.device, norms.scalar_dtype(gradients.device)
    counts = partition.rows or (1,) * len(partition.members)
    # Filled on the device: a copy from the host would synchronise CUDA.
    pieces = [
        torch.full(
            (count,), sum(numel[i] for i in part) / max(count, 1), device=device, dtype=dtype
        )
        for count, part in zip(counts, partition.members, strict=True)
    ]
    return torch.cat(pieces) if pieces else torch.zeros(0, device=device, dtype=dtype)
