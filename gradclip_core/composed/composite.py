"""Clippers made of other clippers: what they share, and the one report about all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradclip_core.clipper import Clipper
from gradclip_core.parts import norms, sharding
from gradclip_core.parts.collect import collect
from gradclip_core.parts.gradients import Gradients, Parameters, as_groups
from gradclip_core.parts.norms import NormType
from gradclip_core.report import ClipReport
from gradclip_core.rules.rule import Rule
from gradclip_core.thresholds import Threshold


class Composite(Clipper):
    """Attaches, detaches and reports for several clippers as if they were one.

    The report has one part, the whole gradient: its norm of order `norm_type` before the first
    clipper and after the last. It counts as clipped if any of them clipped, its threshold is
    that of the clipper with the smallest coefficient, in that clipper's own measure, and
    `stages` holds their reports. State: two integers, and that of the clippers.
    """

    steps: Tensor
    clipped_steps: Tensor
    skipped_steps: Tensor

    def __init__(self, clippers: Sequence[Clipper], norm_type: NormType) -> None:
        super().__init__()
        _check_apart(clippers)
        self.norm_type = norms.check_norm_type(norm_type)
        self.clippers: Sequence[Clipper] = nn.ModuleList(clippers)  # type: ignore[assignment]
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64, device="cpu"))
        self.register_buffer("clipped_steps", torch.zeros((), dtype=torch.int64, device="cpu"))
        self.register_buffer("skipped_steps", torch.zeros((), dtype=torch.int64, device="cpu"))

    def attach(self, *, model: nn.Module | None = None, optimizer: Optimizer | None = None) -> Self:
        """Attach every clipper; raises what one of them raises."""
        super().attach(model=model, optimizer=optimizer)
        return attach_all(self, self.clippers)

    def detach(self) -> None:
        """Detach every clipper."""
        super().detach()
        for clipper in self.clippers:
            clipper.detach()

    def _whole(self, gradients: Gradients) -> tuple[Tensor, Tensor]:
        """The norm of the whole gradient, 0-d, and of each parameter's, (n,)."""
        each = norms.parameter_norms(gradients, self.norm_type)
        return norms.total(each, self.norm_type), each

    def _measures_whole(self, clipper: Clipper) -> bool:
        """Whether a clipper's report holds what `_whole` would measure."""
        if not isinstance(clipper, (Rule, Composite)) or clipper.acts_in_step:
            return False
        if isinstance(clipper, Rule):
            everything = clipper.select.exclude is None and clipper.select.min_ndim == 0
            plain = clipper.measure == "norm" and clipper.measures_gradients
            if not (plain and everything):
                return False
        return clipper.norm_type == self.norm_type

    def _report(
        self,
        names: Sequence[str | None],
        before: tuple[Tensor, Tensor],
        after: Tensor,
        stages: Sequence[ClipReport],
    ) -> ClipReport:
        """The report about all clippers, of the norms before the first and after the last."""
        norm, each = before
        threshold, clipped = norm.new_full((1,), torch.inf), norm.new_zeros((), dtype=torch.bool)
        skipped = clipped
        if stages:
            factors = torch.stack([stage.coefficient for stage in stages])
            thresholds = torch.stack([stage.threshold for stage in stages])
            threshold = thresholds.gather(0, factors.argmin().view(1))
            clipped = torch.stack([stage.clipped for stage in stages]).any()
            skipped = torch.stack([stage.skipped for stage in stages]).any()
            # As a rule alone has it: nothing is left of a finite gradient.
            after = torch.where(skipped, torch.where(norm.isfinite(), 0.0, norm), after)
        return ClipReport(
            norms=norm.view(1),
            clipped_norms=after.view(1),
            thresholds=threshold,
            over=clipped.view(1),
            parameter_norms=each,
            skipped=skipped,
            clip_rate=(self.clipped_steps / self.steps.clamp(min=1)).to(norm.device),
            skipped_steps=self.skipped_steps.to(norm.device, copy=True),
            norm_type=self.norm_type,
            names=names,
            path=next((s.path for s in reversed(stages) if s.path != "none"), "none"),
            stages=tuple(stages),
        )

    def _counted(self, report: ClipReport) -> ClipReport:
        """The report of a whole step, with that step in its clip rate."""
        if self.steps.device != report.norms.device:
            self.to(report.norms.device)
        self.steps += 1
        self.clipped_steps += report.clipped
        self.skipped_steps += report.skipped
        rate, skipped = self.clipped_steps / self.steps, self.skipped_steps.clone()
        return replace(report, clip_rate=rate, skipped_steps=skipped)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # It was not counted before.
        state_dict.setdefault(
            prefix + "skipped_steps", torch.zeros((), dtype=torch.int64, device="cpu")
        )
        super()._load_from_state_dict(state_dict, prefix, *rest)


C = TypeVar("C", bound=Clipper)


def attach_all(whole: C, clippers: Iterable[Clipper]) -> C:
    """Attach the clippers that another one is made of to what it is attached to; returns that."""
    try:
        for clipper in clippers:
            clipper.attach(model=whole._attached_model(), optimizer=whole._optimizer)
    except Exception:
        whole.detach()
        raise
    return whole


def know_on_the_host(clippers: Iterable[Clipper]) -> None:
    """Have rules find out before the step whether it is skipped: others have to do without it."""
    for clipper in clippers:
        for part in clipper.modules():
            if isinstance(part, Rule):
                part.may_skip_unread = False


def collect_filled(parameters: Parameters) -> Gradients:
    """As `collect`; sharded gradients that only other processes have are zeros here."""
    gradients = collect(parameters)
    return collect(as_groups(gradients)) if sharding.fill(gradients) else gradients


def dropped(gradients: Gradients) -> bool:
    """Whether a clipper has removed the gradients that were there; reads nothing."""
    return all(gradients.params[position].grad is None for position in gradients.present)


def _check_apart(clippers: Sequence[Clipper]) -> None:
    """Raise ValueError where two share a state: a clipper, or a threshold that learns."""
    holders: dict[int, int] = {}
    for number, clipper in enumerate(clippers):
        for part in clipper.modules():
            has_state = isinstance(part, Clipper) or (isinstance(part, Threshold) and part.learns)
            if has_state and holders.setdefault(id(part), number) != number:
                raise ValueError(
                    f"clippers {holders[id(part)]} and {number} are made of one "
                    f"{type(part).__name__}, whose state would be of both: give each its own "
                    "(copy.deepcopy)"
                )


def check_parts(parts: Mapping[str, Clipper]) -> None:
    """Raise TypeError or ValueError naming the first that is no clipper of gradients alone."""
    for name, clipper in parts.items():
        if not isinstance(clipper, Clipper):
            raise TypeError(f"{name} must be a Clipper, got {clipper!r}")
        if clipper.acts_in_step:
            kind = type(clipper).__name__
            raise ValueError(f"{name} must not act inside the optimizer's step, as {kind} does")
        if clipper.needs_samples:
            kind = type(clipper).__name__
            raise ValueError(f"{name} must not need samples, as {kind} does: use it alone")
