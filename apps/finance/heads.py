"""What the raw outputs of a network mean, and the loss that trains them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from scipy import stats
from torch import Tensor, nn

from apps.finance.forecast import LEVELS, TAILS

Loss = Literal["student_t", "student_t_qlike", "gaussian", "qlike", "mse", "quantile"]
Output = Literal["residual", "softplus"]
Mean = Literal["zero", "learnt"]
VARIANCE_LOSSES = ("qlike", "mse")  # which know nothing of a mean

_FLOOR = 1e-6  # %^2
# Without the mean: variance, degrees of freedom, gaps between quantiles, shortfalls.
_SIZES = {
    "student_t": 2,
    "student_t_qlike": 2,
    "gaussian": 1,
    "qlike": 1,
    "mse": 1,
    "quantile": len(LEVELS) + 2,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A batch of forecasts: mean and variance (B,) in %; what else the loss has trained.

    freedom: (B,) of a Student t. quantiles: (B, 21), shortfall: (B, 2).
    """

    mean: Tensor
    variance: Tensor
    freedom: Tensor | None = None
    quantiles: Tensor | None = None
    shortfall: Tensor | None = None


class Head(nn.Module):
    """Reads raw outputs as a distribution, and scores it.

    loss: `student_t` or `gaussian`, the negative log-likelihood of daily returns; `qlike` or `mse`,
    a score of the variance; `student_t_qlike`, the likelihood plus half of QLIKE; `quantile`,
    pinball losses and the joint loss of VaR and shortfall.
    output: `residual`, the logarithm of the variance is the base's plus the network's; `softplus`,
    the variance is the softplus of the network's output alone.
    mean: `zero`, the distribution is centred there; `learnt`, its centre is an output, too.
    bound: the most c that the network adds to the base's logarithm or takes from it, as
    c tanh(raw / c), whose slope at zero is one; None: there is no bound.
    """

    def __init__(
        self, loss: Loss, output: Output, mean: Mean = "zero", bound: float | None = None
    ) -> None:
        super().__init__()
        self.bound = bound
        self.kind = loss
        self.output = output
        self.has_mean = mean == "learnt"
        gaps = torch.tensor(stats.norm.ppf(LEVELS), dtype=torch.float32).diff()
        self.register_buffer("gaps", gaps, persistent=False)
        below = stats.norm.ppf(TAILS) + stats.norm.pdf(stats.norm.ppf(TAILS)) / TAILS
        self.register_buffer("below", torch.tensor(below, dtype=torch.float32), persistent=False)

    gaps: Tensor
    below: Tensor

    @property
    def num_outputs(self) -> int:
        """Number of raw outputs."""
        return _SIZES[self.kind] + self.has_mean

    def forward(self, raw: Tensor, base: Tensor) -> Outcome:
        """Read raw outputs (B, num_outputs), given the base's variance (B,)."""
        variance = self._variance(raw[:, 0], base)
        mean = raw[:, -1] * base.sqrt() if self.has_mean else torch.zeros_like(base)
        if self.kind == "quantile":
            return self._quantiles(raw, mean, variance.sqrt())
        if not self.kind.startswith("student_t"):
            return Outcome(mean, variance)
        # Starts near 7 degrees of freedom, as daily returns have them.
        return Outcome(mean, variance, 2.1 + nn.functional.softplus(raw[:, 1] + 5.0))

    def _variance(self, raw: Tensor, base: Tensor) -> Tensor:
        if self.output == "softplus":
            return nn.functional.softplus(raw) + _FLOOR
        if self.bound is not None:
            raw = self.bound * torch.tanh(raw / self.bound)
        return base * raw.exp()

    def _quantiles(self, raw: Tensor, median: Tensor, scale: Tensor) -> Outcome:
        """Quantiles by positive gaps around the median, which start as a normal's."""
        count = len(LEVELS)
        gaps = scale[:, None] * self.gaps * raw[:, 1:count].exp()
        steps = torch.cat([torch.zeros_like(scale)[:, None], gaps.cumsum(dim=1)], dim=1)
        quantiles = median[:, None] + steps - steps[:, count // 2, None]
        beyond = scale[:, None] * self.below * raw[:, count : count + 2].exp()
        tails = [LEVELS.index(level) for level in TAILS]
        shortfall = quantiles[:, tails] - beyond
        mean, variance = _moments(quantiles, beyond[:, 0])
        return Outcome(mean, variance, None, quantiles, shortfall)

    def loss(self, outcome: Outcome, returns: Tensor, base: Tensor) -> Tensor:
        """The mean loss, 0-d, given the daily returns of the horizon (B, H).

        The likelihoods are those of the single days, each with its share of mean and variance:
        neighbouring horizons overlap, so that their sums are few, and soon learnt by heart.
        """
        h, days = outcome.variance, returns.shape[1]
        realised = (returns**2).sum(dim=1)
        if self.kind == "mse":
            return nn.functional.mse_loss(h, realised)
        if self.kind == "qlike":
            return (h.log() + realised / h).mean()
        if self.kind == "quantile":
            return _quantile_loss(outcome, returns.sum(dim=1), base.sqrt())
        mean, share = (part[:, None].expand_as(returns) / days for part in (outcome.mean, h))
        if outcome.freedom is None:
            return nn.functional.gaussian_nll_loss(mean, returns, share, full=True)
        likelihood = _student_loss(mean, share, outcome.freedom[:, None], returns)
        if self.kind == "student_t":
            return likelihood
        # The likelihood alone is content with a variance that is too low over several days.
        return likelihood + 0.5 * (h.log() + realised / h).mean()


def _student_loss(mean: Tensor, variance: Tensor, freedom: Tensor, target: Tensor) -> Tensor:
    """Mean negative log-likelihood of a Student t with that variance.

    Not by torch.distributions, which raises for the NaN of a run that has diverged.
    """
    scale = variance * (freedom - 2) / freedom
    half = (freedom + 1) / 2
    log_constant = torch.lgamma(half) - torch.lgamma(freedom / 2)
    log_constant = log_constant - 0.5 * (math.pi * freedom * scale).log()
    tail = half * ((target - mean) ** 2 / (freedom * scale)).log1p()
    return (tail - log_constant).mean()


def _moments(quantiles: Tensor, beyond: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (B,) of a distribution linear between its quantiles (B, 21).

    The outer hundredths lie `beyond` (B,) their quantile, on both sides alike.
    """
    low, high = quantiles[:, :-1], quantiles[:, 1:]
    share = torch.tensor(LEVELS, dtype=quantiles.dtype, device=quantiles.device).diff()
    outer = torch.stack([quantiles[:, 0] - beyond, quantiles[:, -1] + beyond], dim=1)
    mean = (share * (low + high) / 2).sum(dim=1) + LEVELS[0] * outer.sum(dim=1)
    square = (share * (low**2 + low * high + high**2) / 3).sum(dim=1)
    square = square + LEVELS[0] * (outer**2).sum(dim=1)
    return mean, (square - mean**2).clamp(min=_FLOOR)


def _quantile_loss(outcome: Outcome, target: Tensor, unit: Tensor) -> Tensor:
    """Mean pinball loss, plus a tenth of the mean FZ0 loss of the tails, in units of `unit`.

    FZ0 (Patton, Ziegel and Chen 2019, Journal of Econometrics 211, equation 6) makes VaR v and
    shortfall e minimise it together: -1{y <= v} (v - y) / (u e) + v / e + log(-e) - 1.
    """
    assert outcome.quantiles is not None
    assert outcome.shortfall is not None
    quantiles, y = outcome.quantiles / unit[:, None], (target / unit)[:, None]
    levels = torch.tensor(LEVELS, dtype=y.dtype, device=y.device)
    pinball = torch.maximum(levels * (y - quantiles), (levels - 1) * (y - quantiles)).mean()
    v = quantiles[:, [LEVELS.index(level) for level in TAILS]]
    e = (outcome.shortfall / unit[:, None]).clamp(max=-math.sqrt(_FLOOR))
    tails = torch.tensor(TAILS, dtype=y.dtype, device=y.device)
    joint = -(v - y).clamp(min=0) / (tails * e) + v / e + (-e).log() - 1
    return pinball + 0.1 * joint.mean()
