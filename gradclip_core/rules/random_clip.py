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

    Examples:
        >>> import torch
        >>> from gradclip_core import RandomClip
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> report = RandomClip(1.0, beta=0.9, seed=1)([weight])
        >>> report.clipped.item()  # 5 is over 1, whatever the draw
        True

    A part of norm n > tau is scaled to tau with probability beta^a ("linear") or beta^(a^2)
    ("square"), a = tau / n, and left as it is otherwise: less bias than `ClipNorm`, while huge
    norms are clipped almost surely. Source: the randomised operators of the package torch-clip.

    Args:
        max_norm: the threshold tau: a number > 0, or a `Threshold`.
        beta: the probability at n = tau, > 0 and < 1.
        power: of a in the exponent.
        seed: an integer >= 0 that chooses the stream of random numbers.
        budget: how parts share the threshold: "each" may have it, "equal" or "size" shares of it;
            see `ClipNorm`.
        eps: added to the norm where the hard response divides; 1e-6 as in PyTorch, 0 is exact.
        by: what shares one threshold: "model", "group" (parameter groups), "module" (first
            component of the name), "parameter", "row" (each index of the first dimension), or a
            mapping of part name to regular expression.
        norm_type: order p of the norm, any number > 0 or inf.
        measure: "norm"; "rms": norm / D^(1/p) of a part with D elements, the root mean square for
            p = 2; or "spectral": the largest singular value of a tensor as a matrix of len(tensor)
            rows, and of several the largest.
        exclude: regular expression; parameters whose name it matches anywhere are neither measured
            nor clipped. Needs names.
        min_ndim: parameters with fewer dimensions are left alone in the same way; 2: biases,
            scales.
        nonfinite: what happens to a step whose gradient holds NaN or inf: "skip" removes its
            gradients, "raise" stops and names the parameters, "zero" sets the bad elements to zero,
            "pass" lets them through; see `Guard`.
        patience: number of such steps in a row at which NonFiniteGradientError is raised; None
            bears any number.

    "Clipped" in reports means n > tau, whatever the draw; the coefficient is 1 where a part was
    spared. Draws depend on the seed and on how many there were, so that every rank and every
    resumed run draws the same. State: one integer more than `ClipNorm`.
    """

    drawn: Tensor

    may_skip_unread = False  # it draws in every step that it sees

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
        self.register_buffer("drawn", torch.zeros((), dtype=torch.int64, device="cpu"))

    def respond(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """Scale the parts that the draw does not spare."""
        share = thresholds / parts.norms
        chance = self.beta ** (share if self.power == "linear" else share.square())
        draws = uniform(self.seed, self.drawn, len(chance)).to(chance.dtype)
        self.drawn += len(chance)
        return super().respond(parts, torch.where(draws < chance, thresholds, math.inf))
