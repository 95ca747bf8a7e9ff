"""Reports of steps in which a rule changed nothing, and of those that the optimizer may skip."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from gradclip_core.parts.measure import part_sizes
from gradclip_core.parts.norms import Parts
from gradclip_core.report import ClipReport


def untouched(
    parts: Parts, per_parameter: Tensor, clip_rate: Tensor, skipped_steps: Tensor
) -> ClipReport:
    """The report of a step that changed nothing."""
    device = parts.norms.device
    weights = None
    if parts.measure == "rms":
        sizes = part_sizes(parts.gradients, parts.partition)
        weights = (sizes / sizes.sum().clamp(min=1)) ** (1 / parts.norm_type)
    return ClipReport(
        norms=parts.norms,
        clipped_norms=parts.norms,
        thresholds=torch.full_like(parts.norms, math.inf),
        over=torch.zeros_like(parts.norms, dtype=torch.bool),
        parameter_norms=per_parameter,
        skipped=torch.zeros((), dtype=torch.bool, device=device),
        clip_rate=clip_rate.to(device),
        skipped_steps=skipped_steps.to(device, copy=True),
        norm_type=parts.norm_type,
        names=parts.gradients.names,
        weights=weights,
    )


def perhaps_skipped(report: ClipReport, skipped: Tensor) -> ClipReport:
    """The report of a step that is skipped where `skipped` is true, 0-d bool, not read.

    `report.skipped` says where it was not finite. Fields are what they would be had the host known.
    """
    nonfinite = report.skipped
    left = torch.where(skipped, 0.0, report.clipped_norms)
    return replace(
        report,
        skipped=skipped,
        over=report.over & ~nonfinite,
        thresholds=torch.where(nonfinite, torch.inf, report.thresholds),
        clipped_norms=torch.where(nonfinite, report.norms, left),
    )
