"""The norms of steps that were made without clipping, and thresholds replayed on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.norms import Parts
from gradclip_core.parts.partition import Partition
from gradclip_core.rules.band import Band
from gradclip_core.thresholds import Threshold


@dataclass(frozen=True, slots=True)
class Record:
    """What `Advisor` measured, on the CPU in float64: t steps, n parameters.

    norms: 2-norm of the whole gradient; (t,).
    parameters: 2-norm of each parameter's gradient, 0 where it had none; (t, n).
    singular: largest singular value of each parameter's gradient as a matrix; (t, n).
    weights: 2-norm of each parameter itself, at least 1e-3 as in AGC; (t, n).
    unit_ratios: the largest ratio of a row's gradient norm to the norm of its weights, among the
        rows that AGC clips; NaN where there are none or parameters have no names; (t,).
    names: the parameters' names; n entries.
    modules: the positions of each module's parameters; where names are missing, each
        parameter's own.
    """

    norms: Tensor
    parameters: Tensor
    singular: Tensor
    weights: Tensor
    unit_ratios: Tensor
    names: tuple[str, ...]
    modules: Mapping[str, tuple[int, ...]]

    @property
    def usable(self) -> Record:
        """The steps with a finite norm > 0: those that statistics take in."""
        steps = self.norms.isfinite() & (self.norms > 0)
        return Record(
            self.norms[steps],
            self.parameters[steps],
            self.singular[steps],
            self.weights[steps],
            self.unit_ratios[steps],
            self.names,
            self.modules,
        )

    def by_module(self, values: Tensor) -> Tensor:
        """The 2-norm over each module's parameters: (t, n) to (t, modules)."""
        columns = [values[:, list(places)] for places in self.modules.values()]
        return torch.stack([torch.linalg.vector_norm(c, dim=1) for c in columns], dim=1)


def replay(threshold: Threshold, norms: Tensor, band: Band | None = None) -> Tensor:
    """The thresholds (t, k) that `threshold` gives for norms (t, k), one step after the other.

    band: of a rule whose average is of the norms that the hard response and this leave. The
    threshold is used up: its statistics have seen these norms afterwards. Those that look at the
    parameters too cannot be replayed from norms.
    """
    steps, number = norms.shape
    partition = Partition(tuple((i,) for i in range(number)), number)
    rows = []
    for row in norms:
        parts = Parts(row, row.isfinite() & (row > 0), partition, Gradients())
        limits = threshold(parts).expand(number)
        if threshold.settles:
            factors = torch.where(row > limits, limits / row, 1.0)
            factors = factors if band is None else band(parts, limits, factors)
            threshold.settle(parts, factors * row)
        rows.append(limits)
    return torch.stack(rows) if rows else norms.new_zeros(steps, number)
