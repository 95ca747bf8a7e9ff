"""Several clippers, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradclip_core.clipper import Clipper
from gradclip_core.composed.composite import (
    Composite,
    check_parts,
    collect_filled,
    dropped,
    know_on_the_host,
)
from gradclip_core.parts.collect import collect
from gradclip_core.parts.gradients import Gradients, Parameters, as_groups
from gradclip_core.parts.norms import NormType
from gradclip_core.report import ClipReport
from gradclip_core.stepping.step_hooks import StepHooks

# What the report of a step needs that is complete only after `step()`: the parameters' names,
# the norms before, the norm after, and the reports of the clippers.
_Pending: TypeAlias = tuple[list[str | None], tuple[Tensor, Tensor], Tensor, list[ClipReport]]


class Chain(Composite):
    """Runs clippers in their order, each on what the one before it left.

    Examples:
        >>> import torch
        >>> from gradclip_core import Chain, ClipNorm, ClipValue
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> report = Chain([ClipValue(3.0), ClipNorm(1.0)])([weight])
        >>> print(f"{report.clipped_norm:.2f}")
        1.00

    Args:
        clippers: one or more; one that acts inside the optimizer's step (`acts_in_step`) comes
            last.
        norm_type: order of the norms in the report, any number > 0 or inf.

    Once a clipper drops the step, those after it are not called: their state stays as it was.
    The report is that of `Composite`; `stages` holds the reports of the clippers that ran. The
    gradient is measured again only where the first or the last clipper measures something else
    than its whole norm of that order. Source of the idea: Optax' `chain`.

    Raises TypeError or ValueError at construction for clippers that cannot be chained.
    """

    def __init__(self, clippers: Sequence[Clipper], *, norm_type: NormType = 2.0) -> None:
        super().__init__(_check_clippers(clippers), norm_type)
        know_on_the_host(self.clippers[:-1])  # those after a dropped step are not called
        self.acts_in_step = self.clippers[-1].acts_in_step
        self._pending: _Pending | None = None

    def attach(self, *, model: nn.Module | None = None, optimizer: Optimizer | None = None) -> Self:
        """Attach every clipper; raises what one of them raises."""
        super().attach(model=model, optimizer=optimizer)
        if self.acts_in_step and self._optimizer is not None:
            # Placed after the last clipper's own hook, and so called after it.
            self._handles.append(StepHooks(self._optimizer, leave=self._complete))
        return self

    @torch.no_grad()
    def forward(self, parameters: Parameters, *, loss: Tensor | None = None) -> ClipReport:
        """Run the clippers; raises what one of them raises."""
        self._pending = None
        gradients = collect_filled(parameters)
        if not gradients.grads:
            self._found_nothing(parameters)
            before = self._whole(gradients)
            self.last_report = self._report(gradients.names, before, before[0], [])
            return self.last_report
        measured = None if self._measures_whole(self.clippers[0]) else self._whole(gradients)
        stages = self._run(gradients, loss)
        before = measured or (stages[0].norm, stages[0].parameter_norms)
        after = self._after(gradients, stages)
        report = self._report(gradients.names, before, after, stages)
        if self.acts_in_step and len(stages) == len(self.clippers):
            self._pending = gradients.names, before, after, stages
        else:
            report = self._counted(report)
        self.last_report = report
        return report

    def _run(self, gradients: Gradients, loss: Tensor | None) -> list[ClipReport]:
        groups = as_groups(gradients)
        stages: list[ClipReport] = []
        for clipper in self.clippers:
            stages.append(clipper(groups, loss=loss))
            if dropped(gradients):
                break
        return stages

    def _after(self, gradients: Gradients, stages: list[ClipReport]) -> Tensor:
        """The norm of what the clippers left."""
        if self._measures_whole(self.clippers[len(stages) - 1]):
            return stages[-1].clipped_norm
        return self._whole(collect(as_groups(gradients)))[0]

    def _complete(self) -> None:
        """After the optimizer's step: the last clipper's report now says what it did."""
        if self._pending is None:
            return
        (names, before, after, stages), self._pending = self._pending, None
        last = self.clippers[-1].last_report
        stages = stages if last is None else [*stages[:-1], last]
        self.last_report = self._counted(self._report(names, before, after, stages))

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_pending": None}


def chain(*clippers: Clipper, norm_type: NormType = 2.0) -> Chain:
    """`Chain` of the clippers, in this order.

    Examples:
        >>> import torch
        >>> from gradclip_core import ClipNorm, ClipValue, chain
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> report = chain(ClipValue(3.0), ClipNorm(1.0))([weight])
        >>> [f"{norm:.2f}" for norm in (report.norm, report.stages[1].norm, report.clipped_norm)]
        ['5.00', '4.24', '1.00']

    Args:
        clippers: one or more, in their order.
        norm_type: order of the norms in the report, any number > 0 or inf.
    """
    return Chain(clippers, norm_type=norm_type)


def _check_clippers(clippers: Sequence[Clipper]) -> Sequence[Clipper]:
    if not isinstance(clippers, Sequence) or not clippers:
        raise ValueError(f"clippers must be a list of one or more clippers, got {clippers!r}")
    check_parts({f"clippers[{i}]": clipper for i, clipper in enumerate(clippers[:-1])})
    last = clippers[-1]
    if not (isinstance(last, Clipper) and last.acts_in_step):
        check_parts({f"clippers[{len(clippers) - 1}]": last})
    return clippers
