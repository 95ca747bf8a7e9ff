"""Training a network on returns, and forecasting with it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from apps.base.series_task import Batch, SeriesTask
from apps.base.task import Optimization
from apps.finance import distribution
from apps.finance.data import Windows
from apps.finance.features import Encoding
from apps.finance.forecast import LEVELS, TAILS, Forecast, make_forecast
from apps.finance.heads import Head, Outcome
from apps.finance.panel import Floats, Panel

_DEAD = 1e-3  # share of the mean training variance


class VolatilityTask(SeriesTask):
    """A network whose raw outputs a head turns into a distribution.

    typical_variance: that of the training days over the horizon, %^2. A batch whose median forecast
    variance is below a thousandth of it is dead: the forecast has collapsed, whatever the loss.
    """

    def __init__(
        self, net: nn.Module, optimization: Optimization, head: Head, typical_variance: float
    ) -> None:
        super().__init__(net, optimization)
        self.head = head
        self.typical_variance = typical_variance
        self.may_stall = head.bound is not None  # there may be nothing left to learn

    def loss(self, batch: Batch) -> Tensor:
        """The head's loss of a batch, 0-d."""
        window, base, returns = batch
        outcome = self.head(self.net(window), base)
        self.alive = (outcome.variance.median() > _DEAD * self.typical_variance).detach()
        loss: Tensor = self.head.loss(outcome, returns, base)
        return loss

    @torch.no_grad()
    def outcome(self, windows: Windows, batch_size: int = 512) -> Outcome:
        """The forecasts of all samples, on the CPU in double precision."""
        self.eval()
        parts = []
        for start in range(0, len(windows), batch_size):
            stop = min(start + batch_size, len(windows))
            window, base, _ = windows.__getitems__(list(range(start, stop)))
            parts.append(self.head(self.net(window.to(self.device)), base.to(self.device)))
        return Outcome(
            _joined([part.mean for part in parts]),
            _joined([part.variance for part in parts]),
            _maybe([part.freedom for part in parts]),
            _maybe([part.quantiles for part in parts]),
            _maybe([part.shortfall for part in parts]),
        )


def _joined(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts).double().cpu()


def _maybe(parts: list[Tensor | None]) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return _joined(known) if known else None


def forecast(
    task: VolatilityTask, encoding: Encoding, panel: Panel, windows: Windows, rows: NDArray[np.intp]
) -> Forecast:
    """Forecast from the days `rows` (N,) of a panel, whose samples are `windows`."""
    outcome = task.outcome(windows)
    shape = (len(rows), len(panel.assets))

    def grid(values: Tensor, *more: int) -> Floats:
        reshaped: Floats = values.numpy().reshape(*shape, *more)
        return reshaped

    mean, variance = grid(outcome.mean), grid(outcome.variance)
    if outcome.quantiles is not None and outcome.shortfall is not None:
        quantiles = grid(outcome.quantiles, len(LEVELS))
        shortfall = grid(outcome.shortfall, len(TAILS))
    elif outcome.freedom is not None:
        quantiles, shortfall = distribution.student(mean, variance, grid(outcome.freedom))
    else:
        quantiles, shortfall = distribution.normal(mean, variance)
    return make_forecast(
        panel,
        rows,
        encoding.horizon,
        mean=mean,
        variance=variance,
        quantiles=quantiles,
        shortfall=shortfall,
    )
