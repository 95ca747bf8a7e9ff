"""Fitting, before any training, what a network begins as."""

from __future__ import annotations

import numpy as np
import pandas as pd

from apps.energy.data import SeriesData
from apps.energy.forecast import Floats
from apps.energy.regression_encoding import RegressionEncoding
from apps.energy.regressions import Linear, fit_ridge
from apps.energy.ridge_residual import RidgeResidual

# Inputs of the steps (n, H, F), the profile (n, P), and what is left of the target (n, H).
Arrays = tuple[Floats, Floats, Floats]


def begin_as_ridge(net: RidgeResidual, data: SeriesData) -> None:
    """Make a network the ridge of the training days, and of those and validation later on.

    Test days are seen by neither.
    """
    training = data.origins("train")
    later = _arrays(data, training.append(data.origins("val")))
    step, profile, left = (array[: len(training)] for array in later)
    naive = isinstance(data.encoding, RegressionEncoding) and data.encoding.naive
    center = np.concatenate([step.mean(axis=(0, 1)), profile.mean(axis=0)])
    scale = np.concatenate([step.std(axis=(0, 1)), profile.std(axis=0)])
    scale[scale < 1e-6] = 1.0  # float32 inputs that never change
    ridges = _fit((step, profile, left), naive=naive), _fit(later, naive=naive)
    net.begin_as(ridges, center, scale, data.encoding.levels)


def _fit(arrays: Arrays, *, naive: bool) -> Linear:
    step, profile, left = arrays
    if naive:
        size = step.shape[-1] + profile.shape[-1]
        return Linear(np.zeros((left.shape[1], size)), np.zeros(left.shape[1]), left)
    return fit_ridge(step, profile, left)


def _arrays(data: SeriesData, origins: pd.DatetimeIndex) -> Arrays:
    batch = data.inputs.batch(data.series.positions(origins))
    past, future, target = (array.astype(np.float64) for array in batch)
    return future[..., 1:], past[..., 0], target - future[..., 0]
