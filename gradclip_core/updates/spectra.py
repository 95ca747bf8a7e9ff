"""SPECTRA: the singular values of an optimizer's update, softly clipped."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adafactor, Muon

from gradclip_core.checks import check_integer
from gradclip_core.guards import Policy
from gradclip_core.parts.norms import Parts
from gradclip_core.thresholds import Threshold
from gradclip_core.updates.clip_update import ClipUpdate


class Spectra(ClipUpdate):
    """Softly clips the singular values of each matrix's update, whatever the optimizer.

    Examples:
        >>> import torch
        >>> from gradclip_core import Spectra
        >>> model = torch.nn.Linear(3, 3, bias=False)
        >>> optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.0)
        >>> clipper = Spectra(1.0).attach(optimizer=optimizer)
        >>> model(torch.ones(1, 3)).sum().backward()
        >>> before = model.weight.detach().clone()
        >>> _ = clipper(model)
        >>> optimizer.step()
        >>> print(f"{torch.linalg.matrix_norm(model.weight.detach() - before, 2):.3f}")
        0.095

    U = (w_k - w_(k+1)) / lr - d w_k is the update without its decoupled weight decay d; then
    w_(k+1) = (1 - lr d) w_k - lr a H_c(U), where H_c brings each singular value s to
    s / sqrt(1 + (s / c)^2), and a = sqrt(max(1, rows / columns)). Source: Jiang, Semenov and
    Stich 2026, arXiv:2603.14315, "post"; for their "pre" clip the gradients before with
    `ClipNorm(c, by="parameter", measure="spectral", response="soft_clamp")`.

    Args:
        max_norm: c, the least upper bound of the singular values of U: a number > 0, or a
            `Threshold` such as `Scheduled(1.0, decay_steps=1000, end=0.1)`; 1 in the source.
        warmup_steps: the number of first steps in which c lr is what it is at the full rate, an
            integer >= 0, so that a rate that warms up shortens U and not its bound: c lr_0 / lr.
            lr_0 is what the schedule says of the group: its `max_lr` or `initial_lr`, else lr.
        exclude: regular expression; parameters whose name it matches anywhere are neither measured
            nor clipped: embeddings and heads in the source. Needs names.
        min_ndim: parameters with fewer dimensions are left alone in the same way; 2: all but
            matrices, as in the source.
        nonfinite: what happens to a step whose gradient holds NaN or inf: "skip" removes its
            gradients, "raise" stops and names the parameters, "zero" sets the bad elements to zero,
            "pass" lets them through; see `Guard`.
        patience: number of such steps in a row at which NonFiniteGradientError is raised; None
            bears any number.

    Decoupled is the weight decay of AdamW, of Adam, NAdam and RAdam with
    `decoupled_weight_decay=True`, of Adafactor and of Muon; that of others is part of U. Norms in
    the report are the largest singular values of U, thresholds c; `clipped_norms` hold a. Memory:
    three more copies of the parameters in `step()`. How precise it is, and on which devices
    nothing is decomposed: `gradclip_core.parts.spectral`.
    """

    def __init__(
        self,
        max_norm: float | Threshold = 1.0,
        *,
        warmup_steps: int = 0,
        min_ndim: int = 2,
        exclude: str | None = None,
        nonfinite: Policy = "skip",
        patience: int | None = None,
    ) -> None:
        super().__init__(
            max_norm,
            per_lr=True,
            response="soft_clamp",
            by="parameter",
            measure="spectral",
            exclude=exclude,
            min_ndim=min_ndim,
            nonfinite=nonfinite,
            patience=patience,
        )
        self.warmup_steps = check_integer("warmup_steps", warmup_steps, 0)

    def start(self, old: Tensor, group: dict[str, Any]) -> Tensor:
        """The parameter after its weight decay, which is left alone."""
        decay = group.get("weight_decay", 0)
        decoupled = group.get("decoupled_weight_decay", isinstance(self._optimizer, _DECOUPLED))
        return old * (1 - group["lr"] * decay) if decoupled and decay else old

    def limits(self, parts: Parts) -> Tensor:
        """The bound c of each parameter, (k,), held against a rate that warms up."""
        thresholds = super().limits(parts)
        if not self.warmup_steps:
            return thresholds
        rates = self.rates().to(thresholds)
        peaks = torch.stack(
            [
                torch.as_tensor(_full_rate(g), dtype=thresholds.dtype, device=thresholds.device)
                for g in self._groups
            ]
        )
        held = torch.where(rates == 0, 1.0, peaks / rates).clamp(min=1.0)
        held = torch.where(self.steps < self.warmup_steps, held, 1.0)
        factors = torch.ones_like(thresholds)
        factors[list(parts.gradients.present)] = held
        return thresholds * factors

    def respond(self, parts: Parts, thresholds: Tensor) -> Tensor:
        """Clip the singular values, and multiply tall matrices by a."""
        left = super().respond(parts, thresholds)
        tall = [_tallness(param) for param in parts.gradients.params]
        for position, grad in zip(parts.gradients.present, parts.gradients.grads, strict=True):
            grad.mul_(tall[position])
        return left * torch.stack([left.new_full((), factor) for factor in tall])


_DECOUPLED = (Adafactor, Muon)


def _full_rate(group: dict[str, Any]) -> float | Tensor:
    """The learning rate of a group once it has warmed up, as its schedule has it."""
    rate: float | Tensor = group.get("max_lr", group.get("initial_lr", group["lr"]))
    return rate


def _tallness(param: Tensor) -> float:
    """sqrt(max(1, rows / columns)) of a parameter as a matrix."""
    rows = len(param) if param.ndim > 1 else 1
    return math.sqrt(max(1.0, rows**2 / max(param.numel(), 1)))
