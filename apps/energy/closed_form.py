"""Fitting, before any training, what a network begins as."""

from __future__ import annotations

import numpy as np
import pandas as pd

from apps.energy.data import SeriesData
from apps.energy.forecast import Floats
from apps.energy.regression_encoding import RegressionEncoding
from apps.energy.regressions import Linear, fit_ridge
from apps.energy.ridge_residual import RidgeResidual


def begin_as_ridge(net: RidgeResidual, data: SeriesData) -> None:
    """Make a network the ridge of the training days, and of those and validation later on.

    Test days are seen by neither.
    """
    training = data.origins("train")
    ridges = _fit(data, training), _fit(data, training.append(data.origins("val")))
    step, profile, _ = _arrays(data, training)
    center = np.concatenate([step.mean(axis=(0, 1)), profile.mean(axis=0)])
    scale = np.concatenate([step.std(axis=(0, 1)), profile.std(axis=0)])
    scale[scale < 1e-6] = 1.0  # float32 inputs that never change
    net.begin_as(ridges, center, scale, data.encoding.levels)


def _fit(data: SeriesData, origins: pd.DatetimeIndex) -> Linear:
    step, profile, left = _arrays(data, origins)
    if isinstance(data.encoding, RegressionEncoding) and data.encoding.naive:
        size = step.shape[-1] + profile.shape[-1]
        return Linear(np.zeros((left.shape[1], size)), np.zeros(left.shape[1]), left)
    return fit_ridge(step, profile, left)


def _arrays(data: SeriesData, origins: pd.DatetimeIndex) -> tuple[Floats, Floats, Floats]:
    """Inputs of the steps (n, H, F), the profile (n, P), and what is left of the target (n, H)."""
    batch = data.inputs.batch(data.series.positions(origins))
    past, future, target = (array.astype(np.float64) for array in batch)
    return future[..., 1:], past[..., 0], target - future[..., 0]
