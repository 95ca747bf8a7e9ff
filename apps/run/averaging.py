"""Averaging a network's weights over training."""

from __future__ import annotations

from functools import partial

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


def exponential_average(decay: float = 0.995) -> WeightAveraging:
    """A callback that validates, and keeps in checkpoints, an exponential average of the weights.

    w_avg <- d w_avg + (1 - d) w with d = min(decay, (1 + t) / (10 + t)) at step t, so that the
    untrained weights are soon forgotten (the schedule of TensorFlow's
    `ExponentialMovingAverage(num_updates=...)`). Training itself goes on with the last weights.

    Raises ValueError unless 0 <= decay < 1.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay must be a share in [0, 1), got {decay}")
    return WeightAveraging(avg_fn=partial(_average, decay))


def _average(decay: float, average: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
    if not current.is_floating_point():  # a buffer of places or counts
        return current
    steps = float(count)
    return torch.lerp(current, average, min(decay, (1 + steps) / (10 + steps)))
