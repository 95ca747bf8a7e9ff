"""What rules by norm share: parts scaled by the factors of a response, and budgets."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias, Unpack, get_args

import torch
from torch import Tensor

from gradclip_core.checks import check_choice, check_finite, check_integer, check_number
from gradclip_core.parts import factors, spectral
from gradclip_core.parts.collect import collect
from gradclip_core.parts.gradients import Parameters
from gradclip_core.parts.measure import part_sizes
from gradclip_core.parts.norms import Parts
from gradclip_core.parts.responses import per_gradient, scale
from gradclip_core.report import ClipReport
from gradclip_core.rules.band import Band, check_band
from gradclip_core.rules.rule import Rule
from gradclip_core.rules.settings import PartSettings
from gradclip_core.thresholds import Fixed, Threshold, as_threshold
from gradclip_core.thresholds.clipped_ema import refuse_falling

Response: TypeAlias = Literal[
    "hard", "soft", "tanh", "huber", "normalize", "skip", "clamp", "soft_clamp"
]
Budget: TypeAlias = Literal["each", "equal", "size"]


class NormRule(Rule):
    """Scales each part by the factor that a response gives its norm; see `ClipNorm`."""

    consecutive_skips: Tensor

    def __init__(
        self,
        max_norm: float | Threshold,
        *,
        response: Response = "hard",
        sharpness: float = 4.0,
        max_skips: int | None = None,
        budget: Budget = "each",
        eps: float = 1e-6,
        band: Band | None = None,
        **settings: Unpack[PartSettings],
    ) -> None:
        super().__init__(as_threshold("max_norm", max_norm), **settings)
        self.band = check_band(band)
        refuse_falling(self.threshold, 0.0 if self.band is None else self.band.min_factor)
        self.eps = check_number("eps", eps, "a finite number >= 0", lambda x: 0 <= x < math.inf)
        self.response = check_choice("response", response, get_args(Response))
        self.clamps = response in ("clamp", "soft_clamp")
        if self.clamps and self.measure != "spectral":
            raise ValueError(
                f"response={response!r} is of singular values: it needs measure='spectral', got "
                f"{self.measure!r}"
            )
        if self.clamps and self.band is not None:
            raise ValueError(f"band must be None with response={response!r}, which has no factor")
        self.sharpness = check_finite("sharpness", sharpness)
        self.budget = check_choice("budget", budget, get_args(Budget))
        if budget != "each" and self.measure != "norm":
            raise ValueError(f"budget must be 'each' with measure={self.measure!r}, got {budget!r}")
        self.max_skips = _check_max_skips(max_skips, response)
        lifts = self.band is not None and self.band.lifts
        self.changes_below_threshold = lifts or response not in ("hard", "skip", "clamp")
        self.may_drop = response == "skip"
        if self.may_drop:
            self.register_buffer(
                "consecutive_skips", torch.zeros((), dtype=torch.int64, device="cpu")
            )

    def limits(self, parts: Parts) -> Tensor:
        """The threshold of each part, (k,): its share of the budget."""
        thresholds = super().limits(parts)
        if self.budget == "each":
            return thresholds
        sizes = part_sizes(parts.gradients, parts.partition)
        sizes = sizes if self.budget == "size" else (sizes > 0).to(sizes.dtype)
        shares = sizes / sizes.sum().clamp(min=1)
        # A part without a gradient has no share, and no need of one: inf * 0 would be NaN.
        return torch.where(sizes > 0, thresholds * shares ** (1 / self.norm_type), thresholds)

    def drops(self, over: Tensor) -> bool:
        """Whether to skip the step; counts the skips in a row."""
        if not self.may_drop:
            return False
        if self._skipped is not None:
            self._drop_unread(over.any(), self._skipped)
            return False  # clips hard, for the step that is made after `max_skips`
        if not over.any():
            self.consecutive_skips.zero_()
            return False
        if self.max_skips is not None and self.consecutive_skips.item() >= self.max_skips:
            return False
        self.consecutive_skips += 1
        return True

    def _drop_unread(self, over: Tensor, nonfinite: Tensor) -> None:
        """Leave it to the optimizer's step to skip itself; 0-d bools, not read."""
        skips, row = over & ~nonfinite, self.consecutive_skips
        if self.max_skips is not None:
            skips = skips & (row < self.max_skips)
        counted = torch.where(over, row + skips, 0)
        row.copy_(torch.where(nonfinite, row, counted))
        self._skip_step(nonfinite | skips)

    @torch.no_grad()
    def clip_with_norm(self, parameters: Parameters, norm: Tensor | float) -> ClipReport:
        """Clip with a norm from outside, of which the gradients at hand are only a part.

        norm: that of the whole unscaled gradient, 0-d, for stages of a pipeline, for experts: all
            processes that call with the same norm scale, or skip, alike. See
            `functional.get_total_norm`, whose `group` is the processes.

        Raises ValueError unless the rule is of gradients, `by="model"` and `measure="norm"`.
        """
        if self.by != "model" or self.measure != "norm" or type(self).forward is not Rule.forward:
            raise ValueError(
                "a norm from outside is one number for gradients: it needs by='model', "
                f"measure='norm'; got {self.by!r}, {self.measure!r} in {type(self).__name__}"
            )
        given = norm if isinstance(norm, Tensor) else torch.tensor(norm, device="cpu")
        self._given_norm = given.detach().double().view(1)
        try:
            report = self._full_step(self.select(collect(parameters)))
        finally:
            self._given_norm = None
        self._keep(report)
        return report

    def respond(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """Scale the parts by the factors of the response, or each singular value by its own."""
        if self.clamps:
            change = spectral.clamp if self.response == "clamp" else spectral.soft_clamp
            change(parts.gradients, self.bounds(parts, thresholds))
            return parts.norms * self.factors(parts.norms, thresholds)
        by = self.banded(parts, thresholds)
        self._scale(parts, by)
        return parts.norms * by

    def bounds(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """The bound of the singular values of each gradient that is present, in their order."""
        if self.response == "clamp":  # what is within its threshold need not be looked at again
            thresholds = torch.where(parts.norms <= thresholds, math.inf, thresholds)
        return per_gradient(parts, thresholds)

    def enough(self) -> float:
        """A fixed threshold, where nothing happens below it."""
        threshold: Any = self._modules["threshold"]
        if type(threshold) is not Fixed or self.response == "skip" or self.changes_below_threshold:
            return 0.0
        value: float = threshold.value
        return value if value < math.inf else 0.0  # which only measures

    def _scale(self, parts: Parts, by: Tensor) -> None:
        scale(parts, by)

    def banded(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """By how much the parts are scaled, (k,): by the response, within the band."""
        by = self.factors(parts.norms, thresholds)
        return by if self.band is None else self.band(parts, thresholds, by)

    def factors(self, norms: Tensor, thresholds: Tensor) -> Tensor:
        """By how much the response scales parts of these norms, (k,); differentiable."""
        if self.response == "huber":
            return factors.huber(norms, thresholds, self.sharpness)
        if self.clamps:  # of the largest singular value
            of_values = spectral.clamped if self.response == "clamp" else spectral.softened
            return of_values(norms, thresholds)
        if self.response in factors.SMOOTH:
            return factors.SMOOTH[self.response](norms, thresholds)
        return factors.hard(norms, thresholds, self.eps)


def _check_max_skips(max_skips: int | None, response: str) -> int | None:
    if max_skips is None:
        return None
    max_skips = check_integer("max_skips", max_skips, others=" or None")
    if response != "skip":
        raise ValueError(f"max_skips must be None with response={response!r}, got {max_skips!r}")
    return max_skips
