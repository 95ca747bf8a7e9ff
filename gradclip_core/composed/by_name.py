"""A clipper for each set of parameters, chosen by their names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradclip_core.clipper import Clipper
from gradclip_core.composed.composite import Composite, check_parts, collect_filled, dropped
from gradclip_core.guards import drop
from gradclip_core.parts.collect import collect
from gradclip_core.parts.gradients import Gradients, Parameters, as_groups
from gradclip_core.parts.names import OPTIONAL, listed, names_of, unnamed
from gradclip_core.parts.norms import NormType, total
from gradclip_core.report import ClipReport
from gradclip_core.rules.no_clip import NoClip


class ByName(Composite):
    """Clips every parameter by the first rule whose pattern matches anywhere in its name.

    Examples:
        >>> import torch
        >>> from gradclip_core import ByName, ClipNorm, ClipValue
        >>> model = torch.nn.Linear(2, 1)
        >>> model.weight.grad, model.bias.grad = torch.tensor([[3.0, 4.0]]), torch.tensor([2.0])
        >>> report = ByName({"bias": ClipValue(0.5)}, otherwise=ClipNorm(1.0, eps=0))(model)
        >>> model.bias.grad, model.weight.grad
        (tensor([0.5000]), tensor([[0.6000, 0.8000]]))

    Args:
        rules: mapping of regular expression to clipper; one that acts inside the optimizer's step,
            and so on all parameters, cannot be among them.
        otherwise: clipper of the parameters that no pattern matches; None: `NoClip()`.
        norm_type: order of the norms in the report, any number > 0 or inf.

    Once a rule drops its gradients those of all parameters are dropped, and the rules after it
    are not called: their state stays as it was. The report is that of `Composite`; `stages`
    holds the reports of the rules that ran, those of `otherwise` last. Needs parameter names.

    Raises TypeError or ValueError at construction for rules that make no sense, and ValueError
    at `attach` or at the first call for a pattern that no parameter is left for.
    """

    def __init__(
        self,
        rules: Mapping[str, Clipper],
        otherwise: Clipper | None = None,
        *,
        norm_type: NormType = 2.0,
    ) -> None:
        otherwise = NoClip() if otherwise is None else otherwise
        self._patterns = [re.compile(pattern) for pattern in _check_rules(rules, otherwise)]
        super().__init__([*rules.values(), otherwise], norm_type)
        self._shares: tuple[list[str | None], list[list[int]]] | None = None

    def attach(self, *, model: nn.Module | None = None, optimizer: Optimizer | None = None) -> Self:
        """Attach every rule; raises ValueError for a pattern without a parameter."""
        if model is not None:
            self._divide(names_of(model))
        return super().attach(model=model, optimizer=optimizer)

    @torch.no_grad()
    def forward(self, parameters: Parameters, *, loss: Tensor | None = None) -> ClipReport:
        """Run the rules; raises what one of them raises, and ValueError without names."""
        gradients = collect_filled(parameters)
        if not gradients.grads:
            self._found_nothing(parameters)
        shares = [
            collect(as_groups(gradients, positions)) for positions in self._divide(gradients.names)
        ]
        stages: list[ClipReport] = []
        norms: list[tuple[Tensor, Tensor]] = []
        names: list[str | None] = []
        for clipper, share in zip(self.clippers, shares, strict=True):
            norms.append(self._clip(clipper, share, loss, stages, dropped(gradients)))
            names += share.names
            if share.grads and dropped(share):
                drop(gradients)
        each = torch.cat([before for before, _ in norms])
        after = total(torch.stack([after for _, after in norms]), self.norm_type)
        report = self._report(names, (total(each, self.norm_type), each), after, stages)
        self.last_report = self._counted(report) if gradients.grads else report
        return self.last_report

    def _clip(
        self,
        clipper: Clipper,
        share: Gradients,
        loss: Tensor | None,
        stages: list[ClipReport],
        skipping: bool,
    ) -> tuple[Tensor, Tensor]:
        """Run one rule on its share; each parameter's norm before, and that of all after."""
        reuse = self._measures_whole(clipper) and not skipping
        whole, each = self._whole(Gradients(share.params) if reuse else share)
        if skipping:
            return each, whole
        groups = as_groups(share)
        stages.append(clipper(groups, loss=loss))
        if reuse:
            return stages[-1].parameter_norms, stages[-1].clipped_norm
        return each, self._whole(collect(groups))[0]

    def _divide(self, names: Sequence[str | None]) -> list[list[int]]:
        """The positions that each rule takes, those of `otherwise` last."""
        if self._shares is None or self._shares[0] != names:
            shares: list[list[int]] = [[] for _ in self.clippers]
            for position, name in enumerate(names):
                if name is None:
                    raise unnamed("ByName", position)
                matches = (i for i, p in enumerate(self._patterns) if p.search(name))
                shares[next(matches, -1)].append(position)
            self._check_shares(shares, names)
            self._shares = list(names), shares
        return self._shares[1]

    def _check_shares(self, shares: list[list[int]], names: Sequence[str | None]) -> None:
        """Once: with several optimizers a later call may hold a part of the parameters only."""
        if self._shares is not None:
            return
        for pattern, share in zip(self._patterns, shares, strict=False):
            if not share and OPTIONAL not in pattern.pattern:
                raise ValueError(
                    f"rules: no parameter is left for the pattern {pattern.pattern!r}; "
                    "the first pattern that matches a name takes the parameter; there are "
                    f"{listed(names)}"
                )


def _check_rules(rules: Mapping[str, Clipper], otherwise: Clipper) -> list[str]:
    """The patterns; raise ValueError or TypeError for rules that make no sense."""
    if not isinstance(rules, Mapping) or not rules:
        raise ValueError(f"rules must map one or more patterns to clippers, got {rules!r}")
    for pattern in rules:
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            raise ValueError(
                f"rules must have regular expressions as keys, got {pattern!r}: {error}"
            ) from None
    check_parts(
        {**{f"rules[{key!r}]": rule for key, rule in rules.items()}, "otherwise": otherwise}
    )
    return list(rules)
