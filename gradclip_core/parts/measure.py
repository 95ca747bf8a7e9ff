"""Measuring gradients, or anything of their shape, part by part."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from gradclip_core.parts import norms, sharding
from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.norms import Measure
from gradclip_core.parts.partition import Partition
from gradclip_core.parts.rows import row_norms


def check_measure(measure: Measure) -> Measure:
    """Return a measure unchanged; raise ValueError if it is none."""
    if measure not in get_args(Measure):
        raise ValueError(f"measure must be 'norm' or 'rms', got {measure!r}")
    return measure


def measure_parts(
    gradients: Gradients, partition: Partition, norm_type: float, measure: Measure
) -> tuple[Tensor, Tensor]:
    """The size of each part (k,) and of each parameter (n,).

    "norm" is the p-norm, "rms" the p-norm / D^(1/p) with D the number of elements, of a sparse
    gradient too, so that it does not grow with the part. Only parameters that are present count.
    """
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
