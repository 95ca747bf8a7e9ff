"""SPAM: gradients far over their second moment are cut to it, and momentum is reset."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any, Self, Unpack

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradclip_core.checks import check_finite, check_flag, check_integer, renamed_arguments
from gradclip_core.parts.gradients import Gradients, check_elements
from gradclip_core.parts.norms import Parts
from gradclip_core.parts.selection import Selected
from gradclip_core.report import ClipReport
from gradclip_core.rules.rule import Rule
from gradclip_core.rules.settings import RuleSettings
from gradclip_core.stepping.during_step import DuringStep
from gradclip_core.stepping.momentum_reset import MomentumReset, scaled_rates, warm_up
from gradclip_core.stepping.second_moment import (
    check_served,
    groups_of,
    mark_overflow,
    second_moment,
    unbiased_moment,
)
from gradclip_core.thresholds import Fixed


@renamed_arguments(grace="warmup_steps", warmup="lr_warmup_steps")
class Spam(Rule):
    """Cuts each element whose square is over `ratio` times its second moment in the optimizer.

    Examples:
        >>> import torch
        >>> from gradclip_core import Spam
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        >>> clipper = Spam(warmup_steps=1).attach(optimizer=optimizer)
        >>> for size in (1.0, 1e4):
        ...     optimizer.zero_grad()
        ...     model(torch.full((1, 2), size)).sum().backward()
        ...     report = clipper(model)
        ...     optimizer.step()
        >>> report.clipped.item()
        True

    g_i <- sign(g_i) sqrt(theta v_i) where g_i^2 > theta v_i, with theta = `ratio` and v the
    second moment before the step. Every `reset_every` steps the optimizer's moments are set to
    zero, after which its learning rate rises again over `lr_warmup_steps` steps from a hundredth
    along a cosine. Source: Huang et al. 2025, arXiv:2501.06842 (SPAM). Unlike there, an element
    with v = 0, which has had no gradient, is not cut: it could never begin to move.
    `Spam(9.0, warmup_steps=0, reset_every=None, unbiased=True)` cuts at three standard deviations
    around zero, as the package AdamWClip does.

    Args:
        ratio: theta, > 0.
        warmup_steps: steps after the start and after each reset that cut nothing, since v is not
            known yet, >= 0.
        reset_every: steps from one reset to the next; None never resets.
        lr_warmup_steps: >= 0; weight decay that goes by the learning rate is lowered with it.
        unbiased: whether v is corrected for the start, as the optimizer that keeps it does:
            v / (1 - b2^t) after t steps. RMSprop and Adadelta correct nothing.
        exclude: regular expression; parameters whose name it matches anywhere are neither measured
            nor clipped. Needs names.
        min_ndim: parameters with fewer dimensions are left alone in the same way; 2: biases,
            scales.
        nonfinite: what happens to a step whose gradient holds NaN or inf: "skip" removes its
            gradients, "raise" stops and names the parameters, "zero" sets the bad elements to zero,
            "pass" lets them through; see `Guard`.
        patience: number of such steps in a row at which NonFiniteGradientError is raised; None
            bears any number.

    Serves Adam, AdamW, NAdam, RAdam, RMSprop and Adadelta, once attached; ValueError for others.
    Norms in the report are max |g_i| / sqrt(v_i) of each parameter, thresholds sqrt(theta).
    Gradients whose square overflows count as infinite but under the policy `pass`: they would
    stay in v for good. Raises TypeError for sparse and complex gradients. State: the number of
    steps. Memory: a copy of the gradients while they are measured.
    """

    measures_gradients = False

    def __init__(
        self,
        ratio: float = 5000.0,
        *,
        warmup_steps: int = 20,
        reset_every: int | None = 500,
        lr_warmup_steps: int = 150,
        unbiased: bool = False,
        **settings: Unpack[RuleSettings],
    ) -> None:
        super().__init__(
            Fixed(math.sqrt(check_finite("ratio", ratio))),
            by="parameter",
            norm_type=math.inf,
            **settings,
        )
        self.ratio = check_finite("ratio", ratio)
        self.warmup_steps = check_integer("warmup_steps", warmup_steps, least=0)
        self.unbiased = check_flag("unbiased", unbiased)
        self.lr_warmup_steps = check_integer("lr_warmup_steps", lr_warmup_steps, least=0)
        self.reset = MomentumReset(reset_every, restart=False)
        self._during: DuringStep | None = None

    def attach(self, *, model: nn.Module | None = None, optimizer: Optimizer | None = None) -> Self:
        """Read the moments of this optimizer; ValueError if it keeps no second moment."""
        model, optimizer = self._together(model, optimizer)
        served = check_served("Spam", optimizer)
        super().attach(model=model, optimizer=served)
        self._during = DuringStep(served)
        return self

    def _unhook(self) -> None:
        super()._unhook()
        if self._during is not None:
            self._during.remove()
            self._during = None

    def limits(self, parts: Parts) -> Tensor:
        """sqrt(theta) for each part, inf while the second moment is young, (k,)."""
        optimizer = self._attached()
        self.reset(optimizer)
        if self._during is not None:
            factor = warm_up(self.reset.since, self.lr_warmup_steps) if self.reset.happened else 1.0
            change = functools.partial(scaled_rates, optimizer, factor)
            self._during.set(change if factor < 1 else None)
        thresholds = super().limits(parts)
        young = self.reset.since < self.warmup_steps
        return torch.full_like(thresholds, math.inf) if young else thresholds

    def respond(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """Cut the elements that are over; the ratios that the parts have then."""
        found = parts.gradients
        if self.reset.since < self.warmup_steps:
            return parts.norms
        for moment, grad in zip(self._moments(found), found.grads, strict=True):
            if moment is not None:
                bound = _root(moment).mul_(math.sqrt(self.ratio))
                grad.copy_(grad.clamp(-bound, bound))
        return torch.minimum(parts.norms, thresholds)

    def _measure(self, gradients: Gradients) -> tuple[Parts, Tensor]:
        """Measure the gradients in units of the root of their second moment."""
        check_elements(gradients, "Spam")
        ratios = []
        for moment, grad in zip(self._moments(gradients), gradients.grads, strict=True):
            # Zero where there is nothing to compare with, but NaN where the gradient is not finite.
            ratios.append(grad / (math.inf if moment is None else _root(moment)))
        parts, each = super()._measure(replace(gradients, grads=ratios))
        return replace(parts, gradients=gradients), each

    def _moments(self, found: Gradients) -> list[Tensor | None]:
        """The second moment of each gradient, in their order; None before it exists."""
        optimizer = self._attached()
        params = [found.params[position] for position in found.present]
        if not self.unbiased:
            return [second_moment(optimizer, param) for param in params]
        groups = groups_of(optimizer)
        return [unbiased_moment(optimizer, param, groups.get(id(param), {})) for param in params]

    def _guarded(self, selected: Selected) -> tuple[Parts, ClipReport, bool]:
        if self.guard.policy != "pass":
            mark_overflow(selected.every, self._attached())
        return super()._guarded(selected)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_during": None}


def _root(moment: Tensor) -> Tensor:
    """The root of a second moment; inf where it is 0, as an element had no gradient so far."""
    return torch.where(moment > 0, moment.sqrt(), math.inf)
