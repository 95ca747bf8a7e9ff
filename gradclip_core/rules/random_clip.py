"""Clipping by norm that is left to chance, the more surely the larger the norm."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, Unpack, get_args

import torch
from torch import Tensor

from gradclip_core.checks import check_choice, check_integer, check_number
from gradclip_core.parts.norms import Parts
from gradclip_core.rules.clip_norm import ClipNorm
from gradclip_core.rules.norm_rule import Budget
from gradclip_core.rules.random_stream import uniform
from gradclip_core.rules.settings import PartSettings
from gradclip_core.thresholds import Threshold

Power: TypeAlias = Literal["linear", "square"]


class RandomClip(ClipNorm):
    """Scales a part over its threshold with a probability that grows with its norm.

    A part of norm n > tau is scaled to tau with probability beta^a ("linear") or beta^(a^2)
    ("square"), a = tau / n, and left as it is otherwise: less bias than `ClipNorm`, while huge
    norms are clipped almost surely. Source: the randomised operators of the package torch-clip.

    max_norm: the threshold tau: a number > 0, or a `Threshold`.
    beta: the probability at n = tau, > 0 and < 1.
    power: of a in the exponent.
    seed: an integer >= 0 that chooses the stream of random numbers.

    "Clipped" in reports means n > tau, whatever the draw; the coefficient is 1 where a part was
    spared. Draws depend on the seed and on how many there were, so that every rank and every
    resumed run draws the same. State: one integer more than `ClipNorm`. Other arguments and
    errors: see `ClipNorm`.
    """

    drawn: Tensor

    def __init__(
        self,
        max_norm: float | Threshold,
        *,
        beta: float = 0.5,
        power: Power = "linear",
        seed: int = 0,
        budget: Budget = "each",
        eps: float = 1e-6,
        **settings: Unpack[PartSettings],
    ) -> None:
        super().__init__(max_norm, budget=budget, eps=eps, **settings)
        self.beta = check_number("beta", beta, "a number > 0 and < 1", lambda x: 0 < x < 1)
        self.power = check_choice("power", power, get_args(Power))
        self.seed = check_integer("seed", seed, 0)
        self.register_buffer("drawn", torch.zeros((), dtype=torch.int64))

    def respond(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """Scale the parts that the draw does not spare."""
        share = thresholds / parts.norms
        chance = self.beta ** (share if self.power == "linear" else share.square())
        draws = uniform(self.seed, self.drawn, len(chance)).to(chance.dtype)
        self.drawn += len(chance)
        return super().respond(parts, torch.where(draws < chance, thresholds, math.inf))
