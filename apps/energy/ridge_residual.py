"""A network that begins as the ridge regression of a practitioner and learns what that leaves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from apps.base.networks import check_sizes
from apps.energy.forecast import Floats
from apps.energy.model import QuantileHead, spread
from apps.energy.regressions import Linear

DAY_HARMONICS = 6
SMALLEST_GAP = 1e-3  # between quantiles, in scaled units: a softplus cannot be zero


class RidgeResidual(nn.Module):
    """Ridge regression in closed form, plus a linear and a hidden correction that start at zero.

    For each slot of the horizon the middle quantile is reference + (W + dW) x + c + dc + h(x),
    the distances between quantiles softplus(u + k(x)): W, c and u are those of the fitted ridge
    and its leave-one-out errors and stay as they are; dW, dc and the two-layer h and k are
    trained, and zero at first, so that training starts at the ridge's forecast and weight decay
    pulls towards it (residual learning, He et al. 2016, arXiv:1512.03385).

    Two ridges are held: that of the training days, and a later one, which `use_later` chooses,
    fitted on the validation days too.
    """

    center: Tensor
    scale: Tensor
    waves: Tensor
    weight: Tensor
    bias: Tensor
    raw_gaps: Tensor

    def __init__(
        self,
        past_size: int,
        future_size: int,
        lookback: int,
        horizon: int,
        num_quantiles: int,
        hidden_size: int = 64,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_sizes(hidden_size, 1, dropout)
        self.use_later = False
        inputs = future_size - 1 + lookback * past_size
        self.register_buffer("center", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        # The ridge of the training days, and the later one.
        self.register_buffer("weight", torch.zeros(2, horizon, inputs))
        self.register_buffer("bias", torch.zeros(2, horizon))
        self.register_buffer("raw_gaps", torch.zeros(2, horizon, num_quantiles - 1))
        self.register_buffer("waves", _waves(horizon))
        self.weight_change = nn.Parameter(torch.zeros(horizon, inputs))
        self.bias_change = nn.Parameter(torch.zeros(horizon))
        self.mixing = nn.Sequential(
            nn.Linear(inputs + 1 + self.waves.shape[1], hidden_size), nn.GELU(), nn.Dropout(dropout)
        )
        self.head = QuantileHead(hidden_size, num_quantiles)
        nn.init.zeros_(self.head.output.bias)

    @torch.no_grad()
    def begin_as(
        self,
        ridges: tuple[Linear, Linear],
        center: Floats,
        scale: Floats,
        levels: Sequence[float],
    ) -> None:
        """Take over the ridge of the training days and the later one.

        center, scale (F + P,): of the inputs. levels: of the quantiles.
        """
        self.center.copy_(torch.from_numpy(center))
        self.scale.copy_(torch.from_numpy(scale))
        for number, ridge in enumerate(ridges):
            self.weight[number].copy_(torch.from_numpy(ridge.coefficients * scale))
            bias = ridge.intercepts + ridge.coefficients @ center
            self.bias[number].copy_(torch.from_numpy(bias))
            errors = ridge.errors - np.median(ridge.errors, axis=0)
            gaps = np.diff(np.quantile(errors, levels, axis=0), axis=0)
            below, above = np.array_split(np.maximum(gaps, SMALLEST_GAP), 2)
            from_middle = torch.from_numpy(np.concatenate([below[::-1], above]).T)
            self.raw_gaps[number].copy_(from_middle.expm1().log())

    def forward(self, past: Tensor, future: Tensor) -> Tensor:
        """Quantiles (B, H, Q) in scaled units."""
        inputs = self._inputs(past, future)
        base = self._middle(inputs, future) + (inputs * self.weight_change).sum(-1)
        base = (base + self.bias_change).unsqueeze(-1)
        waves = self.waves.expand(len(inputs), -1, -1)
        hidden = self.mixing(torch.cat([inputs, base - future[..., :1], waves], dim=-1))
        quantiles: Tensor = self.head(hidden, base, self.raw_gaps[int(self.use_later)])
        return quantiles

    def ridge(self, past: Tensor, future: Tensor) -> Tensor:
        """The quantiles (B, H, Q) of the ridge alone, from which training began."""
        middle = self._middle(self._inputs(past, future), future).unsqueeze(-1)
        return spread(middle, self.raw_gaps[int(self.use_later)].expand(len(middle), -1, -1))

    def _middle(self, inputs: Tensor, future: Tensor) -> Tensor:
        """The ridge's point forecast, (B, H)."""
        fitted = int(self.use_later)
        return future[..., 0] + (inputs * self.weight[fitted]).sum(-1) + self.bias[fitted]

    def _inputs(self, past: Tensor, future: Tensor) -> Tensor:
        """The scaled inputs of every step, (B, H, F + P)."""
        profile = past.flatten(1).unsqueeze(1).expand(-1, future.shape[1], -1)
        inputs = torch.cat([future[..., 1:], profile], dim=-1)
        return (inputs - self.center) / self.scale


def _waves(horizon: int) -> Tensor:
    """Sine and cosine pairs over the horizon, (H, waves), as many as its steps resolve."""
    phase = 2 * math.pi * torch.arange(horizon) / horizon
    pairs = range(1, min(DAY_HARMONICS, horizon // 2) + 1)
    waves = [wave(k * phase) for k in pairs for wave in (torch.sin, torch.cos)]
    return torch.stack(waves, dim=-1) if waves else torch.zeros(horizon, 0)
