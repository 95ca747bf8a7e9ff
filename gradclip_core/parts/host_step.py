"""A step in few operations on the CPU: its parts, and the numbers that a report is made of.

The full step makes some forty small tensors, more by row, which cost more than reading a small
gradient. Here the kernel measures and scales all parts in one call each, the norm of the whole
is a plain number, and the report's tensors are made when somebody reads one. Results are those of
the full step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from gradclip_core.parts import native
from gradclip_core.parts.factors import hard
from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.norms import norms_by_pytorch, segment_totals, total_of_numbers
from gradclip_core.parts.reductions import clamp_in_pieces
from gradclip_core.parts.responses import multiply
from gradclip_core.parts.rows import norms_of_all_rows

# How the gradients of a step were changed; see `ClipReport`.
Path: TypeAlias = Literal["none", "in place", "folded", "update"]
# One number for the whole gradient, or (k,) of float64: one for each parameter, or for each row.
Numbers: TypeAlias = float | Tensor


class HostParts:
    """The plain CPU gradients of a step as parts: the whole, each parameter, or each row of each.

    norms: the norm of each part, once it is measured; each: of each gradient or row.
    heights: the number of rows of each parameter, where rows are the parts.
    """

    __slots__ = ("_batch", "_over", "each", "gradients", "heights", "norm_type", "norms", "one")

    norms: Numbers
    each: Tensor | list[float]

    def __init__(self, gradients: Gradients, norm_type: float, by: object = "model") -> None:
        self.gradients = gradients
        self.norm_type = norm_type
        self.one = by == "model"
        self._batch = gradients.batch(by_row=by == "row")
        self.heights = _heights(gradients) if by == "row" else None

    def one_norm(self) -> float:
        """The norm of the only part."""
        assert isinstance(self.norms, float)
        return self.norms

    def is_real(self) -> bool:
        """Whether no gradient is complex; the kernel takes none that is."""
        return self._batch is not None or not any(map(Tensor.is_complex, self.gradients.grads))

    def measure(self) -> bool:
        """Measure the norms; whether all are finite."""
        whole, self.each = self._measured(self.gradients.grads, self._batch)
        self.norms = (
            whole if self.one else torch.as_tensor(self.each, dtype=torch.float64, device="cpu")
        )
        if (scale := self.gradients.loss_scale) is not None:
            self.each = torch.as_tensor(self.each, dtype=torch.float64, device="cpu") / scale
            self.norms = self.norms / scale.item()
        return whole < math.inf

    @torch.no_grad()
    def weight_norms(self) -> Numbers:
        """The norm of each part of the parameters."""
        params = [self.gradients.params[position] for position in self.gradients.present]
        found = native.locate(params)
        batch = found.by_row() if found is not None and self.heights is not None else found
        whole, each = self._measured(params, batch)
        return whole if self.one else torch.as_tensor(each, dtype=torch.float64, device="cpu")

    def factors(self, limits: Numbers, eps: float) -> Numbers | None:
        """limit / (norm + eps) of the parts over their limits, 1 of others; None if none is."""
        norms = self.norms
        if isinstance(norms, float):
            return limits / (norms + eps) if norms > limits else None
        if self._batch is None:
            return hard(norms, limits, eps) if (norms > limits).any() else None
        self._over, factors = self._batch.factors(norms, limits, eps)
        return factors if self._over else None

    def scale(self, factors: Numbers) -> None:
        """Multiply each part by its factor, in place."""
        if self._batch is not None and (self.one or self._over == self._batch.num_rows):
            self._batch.scale(factors)
        else:
            multiply(self.gradients.grads, factors, self.heights, self._batch)

    def clamp(self, bound: float) -> bool:
        """Bound every magnitude, in place, and keep what it was as norm; whether all are finite.

        Not all is clamped if anything is NaN or inf.
        """
        if self._batch is not None:
            self.norms, self.each = self._batch.clamp(bound)
        else:
            self.each = clamp_in_pieces(self.gradients.grads, bound)
            self.norms = total_of_numbers(self.each, math.inf)
        return self.norms < math.inf

    def _measured(
        self, tensors: list[Tensor], batch: native.Batch | None
    ) -> tuple[float, Tensor | list[float]]:
        """A number that is finite if all norms are, the norm of the whole if it is one part."""
        if batch is not None and native.supports(self.norm_type):
            return batch.norms(self.norm_type)
        if self.heights is not None:
            norms = norms_of_all_rows(tensors, self.heights, self.norm_type)
            return norms.amax().item(), norms
        each = norms_by_pytorch(tensors, self.norm_type)
        return total_of_numbers(each, self.norm_type), each


@dataclass(slots=True)
class HostStep:
    """The numbers of one step: what a report is made of. Of gradients it holds none.

    norms, thresholds, factors: of each part, or one number for all; without factors the norms over
        their thresholds were brought down to these.
    each: the norm of each gradient, in the order of `present`, the positions that have one; of
        each row where `heights` gives the number of rows of each parameter.
    """

    norms: Numbers
    thresholds: Numbers
    factors: Numbers | None
    each: Tensor | list[float]
    heights: Sequence[int] | None
    present: Sequence[int]
    names: Sequence[str | None]
    norm_type: float
    path: Path
    steps: int = 0
    clipped_steps: int = 0
    skipped_steps: int = 0

    @classmethod
    def of(
        cls, parts: HostParts, thresholds: Numbers, path: Path, factors: Numbers | None = None
    ) -> HostStep:
        """The numbers of a step on these parts."""
        found = parts.gradients
        rest = parts.each, parts.heights, found.present, found.names, parts.norm_type, path
        return cls(parts.norms, thresholds, factors, *rest)

    @property
    def clipped(self) -> bool:
        """Whether a part was over its threshold."""
        if isinstance(self.norms, float):  # which a band may have lifted
            return self.norms > self.thresholds  # type: ignore[return-value]
        return self.path != "none"

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of a report."""
        norms, thresholds = _vector(self.norms), _vector(self.thresholds)
        clipped = torch.minimum(norms, thresholds)
        return {
            "norms": norms,
            "clipped_norms": clipped if self.factors is None else norms * self.factors,
            "thresholds": thresholds.expand(len(norms)),
            "over": norms > thresholds,
            "parameter_norms": self._parameter_norms(),
            "skipped": torch.tensor(False, device="cpu"),
            "clip_rate": torch.tensor(self.clipped_steps / max(self.steps, 1), device="cpu"),
            "skipped_steps": torch.tensor(self.skipped_steps, device="cpu"),
        }

    def _parameter_norms(self) -> Tensor:
        """The norm of each parameter's gradient, zero where it has none."""
        each = _vector(self.each)
        if self.heights is not None:
            each = segment_totals(each, self.heights, self.norm_type)
        if len(self.present) == len(self.names):
            return each
        norms = torch.zeros(len(self.names), dtype=torch.float64, device="cpu")
        return norms.index_copy_(0, torch.tensor(self.present, device="cpu"), each)


def _vector(numbers: Numbers | list[float]) -> Tensor:
    return torch.as_tensor(numbers, dtype=torch.float64, device="cpu").view(-1)


def _heights(gradients: Gradients) -> Sequence[int]:
    if gradients.located is not None:
        return gradients.located.heights()
    return [len(param) if param.ndim > 1 else 1 for param in gradients.params]
