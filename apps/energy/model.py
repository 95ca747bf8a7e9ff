"""Networks that forecast quantiles: past (B, L, P) and future (B, H, F) to (B, H, Q), scaled."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from apps.base.networks import CELLS, check_cell, check_sizes

Cell = Literal["gru", "lstm", "rnn"]


class QuantileHead(nn.Module):
    """Maps (..., size) to an odd number of quantiles (..., Q) that never cross.

    The middle one is a linear output plus `base`; the others lie above and below it by sums of
    positive gaps (softplus), which start small.
    """

    def __init__(self, size: int, num_quantiles: int) -> None:
        super().__init__()
        if num_quantiles % 2 == 0:
            raise ValueError(f"num_quantiles must be odd, got {num_quantiles}")
        self.output = nn.Linear(size, num_quantiles)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias[:1])
        nn.init.constant_(self.output.bias[1:], -3.0)

    def forward(self, hidden: Tensor, base: Tensor, raw_gaps: Tensor | float = 0.0) -> Tensor:
        """Quantiles (..., Q) from hidden (..., size) and base (..., 1).

        raw_gaps: what is added to the gaps before the softplus, (..., Q - 1).
        """
        out = self.output(hidden)
        return spread(out[..., :1] + base, out[..., 1:] + raw_gaps)


def spread(middle: Tensor, raw_gaps: Tensor) -> Tensor:
    """Quantiles (..., Q) around the middle one (..., 1), softplus(raw_gaps) (..., Q - 1) apart.

    The first half of the gaps lies below, from the middle outwards; the second half above.
    """
    gaps = nn.functional.softplus(raw_gaps)
    half = gaps.shape[-1] // 2
    below = middle - gaps[..., :half].cumsum(-1).flip(-1)
    above = middle + gaps[..., half:].cumsum(-1)
    return torch.cat([below, middle, above], dim=-1)


class RecurrentForecaster(nn.Module):
    """An encoder of the past whose last state starts a bidirectional pass over the known future.

    The middle quantile is a linear function of each step's features (lagged targets among them)
    plus what the recurrent states add. The backward pass over the future sees calendar,
    covariates and lags only, so nothing leaks from the target.

    cell: gru, lstm or rnn (tanh). hidden_size: width of the states. dropout: on the states that
    the head reads, and between layers.
    """

    def __init__(
        self,
        past_size: int,
        future_size: int,
        lookback: int,
        horizon: int,
        num_quantiles: int,
        cell: Cell = "gru",
        hidden_size: int = 48,
        num_layers: int = 1,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        check_sizes(hidden_size, num_layers, dropout)
        between = dropout if num_layers > 1 else 0.0
        make = CELLS[check_cell(cell)]
        self.encoder = make(past_size, hidden_size, num_layers, batch_first=True, dropout=between)
        self.embedding = nn.Sequential(nn.Linear(future_size, hidden_size), nn.GELU())
        self.decoder = make(
            hidden_size,
            hidden_size,
            num_layers,
            batch_first=True,
            dropout=between,
            bidirectional=True,
        )
        self.mixing = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(3 * hidden_size, hidden_size),
            nn.GELU(),
            nn.Dropout(dropout),
        )
        self.linear = nn.Linear(future_size, 1)
        self.head = QuantileHead(hidden_size, num_quantiles)

    def forward(self, past: Tensor, future: Tensor) -> Tensor:
        """Quantiles (B, H, Q) in scaled units."""
        _, state = self.encoder(past)
        start = tuple(map(_both_ways, state)) if isinstance(state, tuple) else _both_ways(state)
        embedded = self.embedding(future)
        states, _ = self.decoder(embedded, start)
        hidden = self.mixing(torch.cat([states, embedded], dim=-1))
        quantiles: Tensor = self.head(hidden, self.linear(future))
        return quantiles


def _both_ways(state: Tensor) -> Tensor:
    """Encoder state (layers, B, D) to decoder state (2 layers, B, D); backward cells start at 0."""
    return torch.stack([state, torch.zeros_like(state)], dim=1).flatten(0, 1).contiguous()


class MLPForecaster(nn.Module):
    """A dense network over past and future as a whole, read out step by step.

    After TiDE (Das et al. 2023, arXiv:2304.08424): features of each step are projected, the
    whole is encoded, decoded into one vector for each step, and a linear skip is added.
    """

    def __init__(
        self,
        past_size: int,
        future_size: int,
        lookback: int,
        horizon: int,
        num_quantiles: int,
        hidden_size: int = 256,
        num_layers: int = 2,
        dropout: float = 0.2,
        step_size: int = 16,
    ) -> None:
        super().__init__()
        check_sizes(hidden_size, num_layers, dropout)
        self.horizon = horizon
        self.embedding = nn.Sequential(nn.Linear(future_size, step_size), nn.GELU())
        widths = [lookback * past_size + horizon * step_size, *([hidden_size] * num_layers)]
        layers = [
            nn.Sequential(nn.Linear(a, b), nn.GELU(), nn.Dropout(dropout))
            for a, b in pairwise(widths)
        ]
        self.body = nn.Sequential(*layers, nn.Linear(widths[-1], horizon * step_size))
        self.mixing = nn.Sequential(
            nn.Linear(2 * step_size, 4 * step_size), nn.GELU(), nn.Dropout(dropout)
        )
        self.linear = nn.Linear(future_size, 1)
        self.head = QuantileHead(4 * step_size, num_quantiles)

    def forward(self, past: Tensor, future: Tensor) -> Tensor:
        """Quantiles (B, H, Q) in scaled units."""
        steps = self.embedding(future)
        whole = self.body(torch.cat([past.flatten(1), steps.flatten(1)], dim=1))
        decoded = whole.unflatten(1, (self.horizon, -1))
        hidden = self.mixing(torch.cat([decoded, steps], dim=-1))
        quantiles: Tensor = self.head(hidden, self.linear(future))
        return quantiles
