"""The two regressions among the baselines; both correct the reference of their features."""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from apps.energy.baseline_features import Features
from apps.energy.forecast import Floats

HINGE_QUANTILES = (0.2, 0.5, 0.8)
RIDGE_PENALTIES = np.logspace(-1.0, 4.0, 11)


class Model(Protocol):
    """A point forecast: (n, H) truths are learned, (n, H) values predicted."""

    def fit(self, features: Features, truth: Floats) -> Self:
        """Learn from n origins; returns itself."""
        ...

    def predict(self, features: Features) -> Floats:
        """Forecast from n origins, (n, H)."""
        ...


class Ridge:
    """Ridge regression for each slot of the day, penalty by leave-one-out.

    Inputs: the slot's lags, levels, weekday and covariates with hinges at their training
    quantiles (heating and cooling degrees, where the covariate is a temperature), and the
    whole profile before the origin.
    """

    def fit(self, features: Features, truth: Floats) -> Self:
        """Fit one model a slot; truth (n, H)."""
        hinged = features.step[..., features.hinged]
        self.knots_ = np.empty((0, 0))
        if hinged.size:
            self.knots_ = np.quantile(hinged, HINGE_QUANTILES, axis=(0, 1))
        self.slots_: list[Pipeline] = []
        for slot in range(truth.shape[1]):
            model = make_pipeline(StandardScaler(), RidgeCV(RIDGE_PENALTIES))
            correction = truth[:, slot] - features.reference[:, slot]
            self.slots_.append(model.fit(self._inputs(features, slot), correction))
        return self

    def predict(self, features: Features) -> Floats:
        """Forecast every slot, (n, H)."""
        slots = enumerate(self.slots_)
        corrections = [model.predict(self._inputs(features, slot)) for slot, model in slots]
        values: Floats = features.reference + np.stack(corrections, axis=1)
        return values

    def _inputs(self, features: Features, slot: int) -> Floats:
        step = features.step[:, slot]
        hinges = [np.maximum(step[:, features.hinged] - knot, 0.0) for knot in self.knots_]
        weekday = np.eye(7)[features.weekday[:, slot]]
        return np.concatenate([step, *hinges, weekday, features.profile], axis=1)


class BoostedTrees:
    """Histogram gradient boosting of the squared error over all slots together.

    Rate, size and the share of features tried at a split were chosen on validation days.
    """

    def fit(self, features: Features, truth: Floats) -> Self:
        """Fit one ensemble for all slots; truth (n, H)."""
        self.trees_ = HistGradientBoostingRegressor(
            learning_rate=0.08,
            max_iter=150,
            min_samples_leaf=40,
            l2_regularization=1.0,
            max_features=0.3,
            early_stopping=False,
            random_state=0,
        )
        self.trees_.fit(self._inputs(features), (truth - features.reference).ravel())
        return self

    def predict(self, features: Features) -> Floats:
        """Forecast every slot, (n, H)."""
        correction = self.trees_.predict(self._inputs(features))
        values: Floats = features.reference + correction.reshape(features.reference.shape)
        return values

    def _inputs(self, features: Features) -> Floats:
        slot = np.broadcast_to(np.arange(features.hour.shape[1]), features.hour.shape)
        extra = np.stack([features.hour, features.weekday, slot], axis=-1)
        columns = np.concatenate([features.step, extra], axis=-1)
        return columns.reshape(-1, columns.shape[-1])
