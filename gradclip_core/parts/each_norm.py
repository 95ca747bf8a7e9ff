"""A step in few tensor operations: where the norm of each parameter or row, on CPU, decides.

A step of the general way makes a hundred small tensors and a report of all it knows. Here the
kernel measures and scales all parts in one call each, and the report is made when it is read.
Results are those of the general way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradclip_core.parts import native
from gradclip_core.parts.factors import hard
from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.norms import norms_by_pytorch, segment_totals, total_of_numbers
from gradclip_core.parts.one_norm import Path
from gradclip_core.parts.responses import scale_each, scale_rows
from gradclip_core.parts.rows import norms_of_all_rows


class Each:
    """The plain gradients of a step as parts: each parameter, or each row of each."""

    __slots__ = ("_batch", "by_row", "gradients", "heights", "norm_type")

    def __init__(self, gradients: Gradients, norm_type: float, *, by_row: bool) -> None:
        self.gradients = gradients
        self.norm_type = norm_type
        self.by_row = by_row
        self._batch = gradients.batch(by_row=by_row)
        self.heights = _heights(gradients) if by_row else None

    def norms(self) -> tuple[float, Tensor]:
        """The norm of each part of the gradient, (k,), and a number that is finite if they are."""
        return self._norms(self.gradients.grads, self._batch)

    @torch.no_grad()
    def weight_norms(self) -> Tensor:
        """The norm of each part of the parameters, (k,)."""
        params = self.gradients.params
        found = native.locate(params)
        batch = found.by_row() if found is not None and self.by_row else found
        return self._norms(params, batch)[1]

    def clip(self, norms: Tensor, limits: Tensor | float, eps: float) -> Tensor | None:
        """Scale the parts over their limits to them, in place; the factors, None if none is over.

        limits: one number or (k,); eps: added to the norm in the divisor.
        """
        if self._batch is None:
            over = int(torch.count_nonzero(norms > limits))
            factors = hard(norms, limits, eps) if over else norms
        else:
            over, factors = self._batch.factors(norms, limits, eps)
        if self._batch is not None and over == len(factors):
            self._batch.scale(factors)
        elif over:
            self._scale(factors)
        return factors if over else None

    def _scale(self, factors: Tensor) -> None:
        """Multiply each part by its factor, in place; those with the factor 1 are not written."""
        if self.heights is None:
            scale_each(self.gradients.grads, factors, self._batch)
        else:
            scale_rows(self.gradients.grads, self.heights, factors, self._batch)

    def _norms(self, tensors: list[Tensor], batch: native.Batch | None) -> tuple[float, Tensor]:
        if batch is not None and native.supports(self.norm_type):
            return batch.norms(self.norm_type)
        if self.heights is not None:
            norms = norms_of_all_rows(tensors, self.heights, self.norm_type)
            return norms.amax().item(), norms
        each = norms_by_pytorch(tensors, self.norm_type)
        return total_of_numbers(each, self.norm_type), torch.tensor(each, dtype=torch.float64)


@dataclass(slots=True)
class EachNorm:
    """The numbers of one step: what a report of many parts is made of.

    norms (k,), thresholds (k,) or one number; factors (k,), None where no part is over.
    heights: the number of rows of each parameter, where rows are the parts.
    """

    norms: Tensor
    thresholds: Tensor | float
    factors: Tensor | None
    heights: Sequence[int] | None
    names: Sequence[str | None]
    norm_type: float
    steps: int = 0
    clipped_steps: int = 0

    @property
    def clipped(self) -> bool:
        """Whether a part was over its threshold."""
        return self.factors is not None

    @property
    def path(self) -> Path:
        """How the gradient was changed."""
        return "none" if self.factors is None else "in place"

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of a report."""
        norms, thresholds = self.norms, torch.as_tensor(self.thresholds, dtype=torch.float64)
        each = norms
        if self.heights is not None:
            each = segment_totals(norms, self.heights, self.norm_type)
        return {
            "norms": norms,
            "clipped_norms": norms if self.factors is None else norms * self.factors,
            "thresholds": thresholds.expand(len(norms)),
            "over": norms > thresholds,
            "parameter_norms": each,
            "skipped": torch.tensor(False),
            "clip_rate": torch.tensor(self.clipped_steps / max(self.steps, 1)),
        }


def _heights(gradients: Gradients) -> Sequence[int]:
    if gradients.located is not None:
        return gradients.located.heights()
    return [len(param) if param.ndim > 1 else 1 for param in gradients.params]
