"""One variance from those of several models, weighted by how well each has forecast of late."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter
from scipy.special import softmax

from apps.finance.backtests import qlike
from apps.finance.panel import Floats

RATE = 0.1  # by which the logarithm of a weight falls for a loss of one
MEMORY = 0.996  # what a loss counts a day later: half as much after 173 days
LARGEST = 3.0  # loss of a day, from the models' mean, so that none decides alone


def combine(
    variances: Floats, realised: Floats, horizon: int, rate: float = RATE, memory: float = MEMORY
) -> Floats:
    """Mean (T, A) of the variances (M, T, A) of M models, weighted anew on each day.

    A weight is proportional to exp(-rate * discounted sum of the model's losses so far): the
    exponentially weighted average forecaster with discounted losses (Cesa-Bianchi and Lugosi 2006,
    Prediction, Learning, and Games, sections 2.1 and 2.11), with QLIKE less the models' mean as
    loss, which counts `memory` times itself a day later. realised (T, A): sums of squared returns
    over the `horizon` days after each day, NaN where they are not known. A forecast is judged when
    its horizon has ended; neighbouring horizons share their days, so that the rate is a share of
    1 / horizon. NaN where a model has none.
    """
    losses = qlike(variances, realised)
    apart = np.nan_to_num(losses - losses.mean(axis=0)).clip(-LARGEST, LARGEST)
    judged = np.zeros_like(apart)
    judged[:, horizon:] = apart[:, :-horizon]
    discounted = lfilter([1.0], [1.0, -memory], judged, axis=1)
    weights = softmax(-rate / horizon * discounted, axis=0)
    combined: Floats = (weights * variances).sum(axis=0)
    return combined
