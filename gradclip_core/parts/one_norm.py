"""A step in plain numbers: where the norm of the whole gradient, on CPU, decides alone.

A step of the general way makes some forty small tensors, which cost more than reading a small
gradient. Results are those of the general way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from gradclip_core.parts import native
from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.norms import norms_by_pytorch, total_of_numbers
from gradclip_core.parts.reductions import clamp_in_pieces
from gradclip_core.parts.responses import scale_all_on_cpu

# How the gradients of a step were changed; see `ClipReport`.
Path: TypeAlias = Literal["none", "in place", "folded", "update"]
Norms: TypeAlias = Tensor | list[float]  # one for each gradient, float64


@dataclass(slots=True)
class OneNorm:
    """The numbers of one step: what a report of one part is made of.

    folded: whether the optimizer is to scale the gradient.
    each: the norm of each gradient, in the order of `present`, the positions that have one.
    """

    norm: float
    clipped_norm: float
    threshold: float
    each: Norms
    present: Sequence[int]
    names: Sequence[str | None]
    norm_type: float
    folded: bool = False
    steps: int = 0
    clipped_steps: int = 0

    @property
    def clipped(self) -> bool:
        """Whether the norm was over the threshold."""
        return self.norm > self.threshold

    @property
    def path(self) -> Path:
        """How the gradient was changed."""
        return ("folded" if self.folded else "in place") if self.clipped else "none"

    @property
    def clipped_share(self) -> float:
        """Share of the parts, of which there is one, that were over the threshold."""
        return float(self.clipped)

    @property
    def skipped(self) -> bool:
        """Whether the step was dropped; such steps go the general way."""
        return False

    @property
    def coefficient(self) -> float:
        """The factor by which the gradient was scaled."""
        return self.clipped_norm / self.norm if self.norm > 0 else 1.0

    @property
    def clip_rate(self) -> float:
        """Share of the steps so far that were clipped."""
        return self.clipped_steps / max(self.steps, 1)

    def parameter_norms(self) -> Tensor:
        """The norm of each parameter's gradient, zero where it has none."""
        each = torch.as_tensor(self.each, dtype=torch.float64)
        if len(self.present) == len(self.names):
            return each
        norms = torch.zeros(len(self.names), dtype=torch.float64)
        return norms.index_copy_(0, torch.tensor(self.present), each)

    def tensors(self) -> dict[str, Tensor]:
        """The same as the tensors of a report."""
        norms = torch.tensor(
            [[self.norm], [self.clipped_norm], [self.threshold]], dtype=torch.float64
        )
        return {
            "norms": norms[0],
            "clipped_norms": norms[1],
            "thresholds": norms[2],
            "over": torch.tensor([self.clipped]),
            "parameter_norms": self.parameter_norms(),
            "skipped": torch.tensor(False),
            "clip_rate": torch.tensor(self.clip_rate),
        }


class Whole:
    """All gradients of a step as one vector, which is measured, scaled and clamped as such."""

    __slots__ = ("_batch", "grads")

    def __init__(self, gradients: Gradients) -> None:
        self.grads = gradients.grads
        self._batch = gradients.batch()

    def is_real(self) -> bool:
        """Whether no gradient is complex; the kernel takes none that is."""
        return self._batch is not None or not any(map(Tensor.is_complex, self.grads))

    def norms(self, norm_type: float) -> tuple[float, Norms]:
        """The norm of the whole, and of each gradient."""
        if self._batch is not None and native.supports(norm_type):
            return self._batch.norms(norm_type)
        each = norms_by_pytorch(self.grads, norm_type)
        return total_of_numbers(each, norm_type), each

    def scale(self, factor: float) -> None:
        """Multiply by one factor, in place."""
        if self._batch is not None:
            self._batch.scale(factor)
        else:
            scale_all_on_cpu(self.grads, factor)

    def clamp(self, bound: float) -> tuple[float, Norms]:
        """Bound every magnitude, in place; the largest there was, of the whole and of each.

        Not all is clamped if anything is NaN or inf, and then the first result is not finite.
        """
        if self._batch is not None:
            return self._batch.clamp(bound)
        each = clamp_in_pieces(self.grads, bound)
        return total_of_numbers(each, math.inf), each
