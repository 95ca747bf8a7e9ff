"""Update clipping: scaling what an optimizer's step has changed, whatever the optimizer."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import LBFGS, Optimizer

from gradclip_core.parts.collect import collect
from gradclip_core.parts.gradients import Gradients, Parameters
from gradclip_core.parts.host_step import Path
from gradclip_core.parts.norms import Parts
from gradclip_core.parts.responses import broadcast_to_gradients
from gradclip_core.parts.sharding import local
from gradclip_core.report import ClipReport
from gradclip_core.rules.norm_rule import NormRule
from gradclip_core.stepping.second_moment import groups_of, mark_overflow
from gradclip_core.stepping.step_hooks import StepHooks


class StepRule(NormRule):
    """Bounds what the attached optimizer's `step()` does to the parameters.

    The step moves parameters from p to p + d. Afterwards the update d is measured part by part
    and scaled by the factor s of the response: p + s d, which scales learning rate, momentum and
    decoupled weight decay alike and serves any optimizer but LBFGS, whose next step builds on
    the one it made. Where s is 1 parameters stay as the optimizer left them, to the last bit.

    Attach the optimizer, and call the clipper as any other between `backward()` and `step()`:
    the guard acts on the gradients there; the rest happens inside `step()`, after which
    `last_report` tells of the update: its norms, of which part it was clipped. A gradient whose
    square overflows counts as infinite if the optimizer keeps squares, since it would freeze its
    weight for good; not under the policy `pass`. A step that the guard or a GradScaler skips
    changes nothing.

    Memory: two copies of the optimizer's parameters for the time of `step()`, in float32 where
    they are half precision. No state beyond that of the threshold and two counters.
    """

    acts_in_step = True
    path: Path = "update"

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, eps=0.0, **settings)
        self._before: dict[int, Tensor] = {}
        self._in_step = False
        self._chosen: Gradients | None = None

    @abstractmethod
    def measured(self, updates: Gradients, params: list[Tensor], optimizer: Optimizer) -> Gradients:
        """What is measured in place of the updates, of the same shapes.

        `updates.grads` are the updates, `params` the parameters they belong to (after the step),
        and `updates.params` holds the parameters as they were before it.
        """

    def start(self, old: Tensor, group: dict[str, Any]) -> Tensor:
        """Where the update that is bounded begins, of a parameter `old` of this group."""
        return old

    def enough(self) -> float:
        """Gradients are not bounded: to the guard all is told by their 2-norms."""
        return super().enough() if self._in_step else math.inf

    def attach(self, *, model: nn.Module | None = None, optimizer: Optimizer | None = None) -> Self:
        """Bound the steps of this optimizer from now on; returns the clipper itself.

        Raises ValueError without an optimizer and for LBFGS.
        """
        model, optimizer = self._together(model, optimizer)
        if optimizer is None or isinstance(optimizer, LBFGS):
            given = "none" if optimizer is None else "LBFGS"
            raise ValueError(
                f"{type(self).__name__} bounds the steps of one optimizer, any but LBFGS; "
                f"got {given}"
            )
        super().attach(model=model, optimizer=optimizer)
        self._handles.append(StepHooks(optimizer, enter=self._before_step, leave=self._after_step))
        return self

    @torch.no_grad()
    def forward(self, parameters: Parameters, *, loss: Tensor | None = None) -> ClipReport:
        """Apply the guard to the gradients; the update is bounded in the optimizer's `step()`.

        The report is of the gradients; `last_report` changes to that of the update in `step()`.
        Raises NonFiniteGradientError where the guard says so, ValueError if no optimizer is
        attached.
        """
        optimizer = self._attached()
        selected = self.select(collect(parameters))
        found = selected.chosen
        self._chosen = replace(found, present=[], grads=[], plain=False)
        if not selected.every.grads:
            self._found_nothing(parameters)
            self.last_report = self._untouched(*self._measure(found))
            return self.last_report
        self._follow(selected.every)
        if self.guard.policy != "pass":
            mark_overflow(selected.every, optimizer)
        _, self.last_report, skip = self._guarded(selected)
        return self._counted(self.last_report) if skip else self.last_report

    def _before_step(self, optimizer: Optimizer, *_: Any) -> None:
        params = [param for group in optimizer.param_groups for param in group["params"]]
        # A lazy layer that was never called has nothing to move yet.
        made = [param for param in params if not is_lazy(param)]
        self._before = {id(param): param.detach().clone() for param in made}

    def _after_step(self) -> None:
        self._in_step = True
        try:
            self._bound_step()
        finally:
            self._in_step = False

    @torch.no_grad()
    def _bound_step(self) -> None:
        optimizer = self._attached()
        before, self._before = self._before, {}
        found = self._chosen or self.select(collect(optimizer)).chosen
        moved = [
            i
            for i, param in enumerate(found.params)
            if id(param) in before and param.grad is not None and param.numel()
        ]
        if not moved:
            return
        params = [found.params[i] for i in moved]
        old = [before.get(id(param), param) for param in found.params]
        groups = groups_of(optimizer)
        starts = [self.start(_wide(old[i]), groups[id(found.params[i])]) for i in moved]
        steps = [_wide(p.detach()) - start for p, start in zip(params, starts, strict=True)]
        updates = replace(found, params=old, present=moved, grads=steps, plain=False)
        parts, each = self._measure(self.measured(updates, params, optimizer))
        parts = replace(parts, gradients=updates)
        report = self._counted(self._clip(parts, updates, self._untouched(parts, each)))
        self._write(params, starts, parts, report.clipped_norms != report.norms)

    def _write(
        self, params: list[Tensor], starts: list[Tensor], parts: Parts, changed: Tensor
    ) -> None:
        """Set the parameters of the parts that were scaled; what is not finite moves nothing."""
        updates, on_cpu = parts.gradients, changed.device.type == "cpu"
        if on_cpu and not changed.any():
            return
        masks = broadcast_to_gradients(parts, changed)
        for param, start, update, mask in zip(params, starts, updates.grads, masks, strict=True):
            if on_cpu and not mask.any():
                continue
            if self.guard.policy != "pass":
                update.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
            shard = local(param.detach())
            target = (start + update).to(shard.dtype)
            shard.copy_(torch.where(mask.to(shard.device), target, shard))

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_before": {}, "_chosen": None}


def _wide(values: Tensor) -> Tensor:
    """The local shard, half precision as float32: an update has few digits left in it."""
    values = local(values)
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
