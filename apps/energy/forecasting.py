"""Forecasts of a trained network; of one that began as a ridge, combined with that ridge's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from apps.base.task import Task
from apps.energy.encoding import Encoding, Inputs
from apps.energy.forecast import Forecast, concatenate
from apps.energy.regression_encoding import RegressionEncoding, RegressionInputs
from apps.energy.ridge_residual import RidgeResidual
from apps.energy.series import Series

# Not the whole: on validation days the ridge is one that has not seen the days just before, as it
# has on test days, so that a network looks better there than it is.
SHARES = (0.0, 0.5)


def forecast_origins(
    task: Task,
    encoding: Encoding,
    inputs: Inputs | RegressionInputs,
    series: Series,
    origins: pd.DatetimeIndex,
) -> Forecast:
    """Forecast from each origin; the truth is NaN where it is not known.

    Of a network that began as a ridge: combined with it by `encoding.share`, the ridge being
    that of the training days until `encoding.later_from`.
    """
    net = task.eval().net
    if not isinstance(net, RidgeResidual) or not isinstance(encoding, RegressionEncoding):
        return _forecast(net, task.device, encoding, inputs, series, origins)
    later = origins >= pd.Timestamp(encoding.later_from)
    parts = []
    for net.use_later, part in ((False, origins[~later]), (True, origins[later])):
        if len(part):
            network = _forecast(net, task.device, encoding, inputs, series, part)
            ridge = _forecast(net.ridge, task.device, encoding, inputs, series, part)
            parts.append(combine(ridge, network, encoding.share))
    return concatenate(parts)


def combine(ridge: Forecast, network: Forecast, share: float) -> Forecast:
    """The forecast with `share` of the network's quantiles and the rest of the ridge's.

    A mean of two forecasts often errs less than either (Bates and Granger 1969).
    """
    if share == 0:  # not 0 times what may be infinite
        return ridge
    quantiles = (1 - share) * ridge.quantiles + share * network.quantiles
    return replace(network, quantiles=quantiles)


def choose_share(
    task: Task,
    encoding: Encoding,
    inputs: Inputs | RegressionInputs,
    series: Series,
    origins: pd.DatetimeIndex,
) -> float | None:
    """Which of SHARES of the network gives the least quantile loss on (validation) days.

    None for a network that did not begin as a ridge. One whose forecasts are not finite is given
    the largest share, so that its ridge does not hide that it broke.
    """
    if not isinstance(task.net, RidgeResidual) or not isinstance(encoding, RegressionEncoding):
        return None
    forecasts = [
        forecast_origins(task, replace(encoding, share=share), inputs, series, origins)
        for share in SHARES
    ]
    if not np.isfinite(forecasts[-1].quantiles).all():
        return max(SHARES)
    return SHARES[int(np.argmin([_loss(forecast) for forecast in forecasts]))]


def _loss(forecast: Forecast) -> float:
    errors = forecast.truth[..., None] - forecast.quantiles
    levels = np.asarray(forecast.levels)
    return float(np.maximum(levels * errors, (levels - 1) * errors).mean())


@torch.no_grad()
def _forecast(
    net: Callable[[Tensor, Tensor], Tensor],
    device: torch.device,
    encoding: Encoding,
    inputs: Inputs | RegressionInputs,
    series: Series,
    origins: pd.DatetimeIndex,
    batch_size: int = 256,
) -> Forecast:
    rows = series.positions(origins)
    chunks = []
    for start in range(0, len(rows), batch_size):
        batch = inputs.batch(rows[start : start + batch_size])
        past, future = (torch.from_numpy(array).to(device) for array in batch[:2])
        chunks.append(net(past, future).double().cpu().numpy())
    steps = np.arange(encoding.horizon)
    times = origins.to_numpy()[:, None] + steps * series.frequency.to_timedelta64()
    truth = series.frame["target"].to_numpy(np.float64)[rows[:, None] + steps]
    quantiles = encoding.unscale(np.concatenate(chunks))
    if isinstance(inputs, RegressionInputs):
        quantiles = np.roll(quantiles, -inputs.shift, axis=1)
    return Forecast(origins, times, truth, quantiles, encoding.levels)
