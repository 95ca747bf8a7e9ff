"""The network's answer and the ridge's, averaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import log_softmax

from apps.errors import UserError

Floats = NDArray[np.float64]
# Shares of the ridge among which validation texts choose.
SHARES = (0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Scores:
    """Ratings (N, 1) or logits of the classes (N, K) by the network, and by its ridge if any."""

    network: Floats
    ridge: Floats | None = None

    @property
    def are_finite(self) -> bool:
        """Whether the network has an answer to every text; the ridge always has."""
        return bool(np.isfinite(self.network).all())

    def mixed(self, share: float) -> Floats:
        """The mean of both, in which the ridge has this share."""
        return self.network if self.ridge is None else _mix(self.network, self.ridge, share)


def _mix(network: Floats, ridge: Floats, share: float) -> Floats:
    return (1 - share) * network + share * ridge


def fit_share(scores: Scores, targets: pd.Series, classes: tuple[str, ...] | None) -> float:
    """The share with the smallest loss on validation texts; 0 without a ridge.

    The loss is the squared error of ratings, or the cross-entropy of classes.
    """
    if scores.ridge is None:
        return 0.0
    wanted = targets.to_numpy(float)

    def loss(share: float) -> float:
        found = scores.mixed(share)
        if classes is None:
            return float(np.square(found[:, 0] - wanted).mean())
        return -float(log_softmax(found, axis=1)[np.arange(len(wanted)), wanted.astype(int)].mean())

    return min(SHARES, key=loss)


def read_share(record: Mapping[str, Any]) -> float:
    """The share that a run's description holds, 0 without a ridge; UserError for what is none."""
    share = record.get("ridge_share", 0.0)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise UserError(f"data.json of the run: ridge_share={share}: must be a share from 0 to 1")
    return float(share)
