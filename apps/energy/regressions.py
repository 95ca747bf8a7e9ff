"""Two regressions, of which each corrects the reference of its features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV

from apps.energy.forecast import Floats
from apps.energy.regression_features import Features

HINGE_QUANTILES = (0.2, 0.5, 0.8)
RIDGE_PENALTIES = np.logspace(-1.0, 4.0, 11)
# Of every five weeks the last is kept from the trees until their number is chosen.
WEEKS = 5
MOST_TREES = 200


class Model(Protocol):
    """A point forecast, fitted to n origins: `errors` (m, H) are those on days it had not seen."""

    errors: Floats

    def fit(self, features: Features, truth: Floats) -> Self:
        """Learn from n origins, truth (n, H); returns itself."""
        ...

    def predict(self, features: Features) -> Floats:
        """Forecast from n origins, (n, H)."""
        ...


def hinge_knots(features: Features) -> Floats:
    """The quantiles of the covariate columns at which they bend, (3, C); (0, 0) without any."""
    hinged = features.step[..., features.hinged]
    if not hinged.size:
        return np.empty((0, 0))
    knots: Floats = np.quantile(hinged, HINGE_QUANTILES, axis=(0, 1))
    return knots


def step_inputs(features: Features, knots: Floats) -> Floats:
    """What a linear model reads at each step, (n, H, F), beside the profile before the origin.

    Lags, levels, covariates, their hinges max(0, x - knot) (heating and cooling degrees, where
    the covariate is a temperature) and the day of the week as seven columns.
    """
    hinges = [np.maximum(features.step[..., features.hinged] - knot, 0.0) for knot in knots]
    weekday = np.eye(7)[features.weekday]
    return np.concatenate([features.step, *hinges, weekday], axis=-1)


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear model for each slot, in the units of its inputs.

    coefficients (H, F + P) of the step's inputs and of the profile, intercepts (H,), and errors
    (n, H) of the predictions for each day from all others (leave-one-out).
    """

    coefficients: Floats
    intercepts: Floats
    errors: Floats

    def predict(self, step: Floats, profile: Floats) -> Floats:
        """From inputs (n, H, F) and (n, P) to (n, H)."""
        size = step.shape[-1]
        values: Floats = np.einsum("nhf,hf->nh", step, self.coefficients[:, :size])
        return values + profile @ self.coefficients[:, size:].T + self.intercepts


def fit_ridge(step: Floats, profile: Floats, truth: Floats) -> Linear:
    """Ridge regression of truth (n, H) for each slot on inputs (n, H, F) and profile (n, P).

    The penalty is that of RIDGE_PENALTIES, for standardised inputs, with the smallest
    leave-one-out error.
    """
    slots = [
        _fit_slot(np.concatenate([step[:, slot], profile], axis=1), truth[:, slot])
        for slot in range(truth.shape[1])
    ]
    coefficients, intercepts, errors = zip(*slots, strict=True)
    return Linear(np.stack(coefficients), np.array(intercepts), np.stack(errors, axis=1))


def _fit_slot(inputs: Floats, truth: Floats) -> tuple[Floats, float, Floats]:
    center, scale = inputs.mean(axis=0), inputs.std(axis=0)
    scale[scale < 1e-9] = 1.0
    # With a scorer RidgeCV keeps the leave-one-out predictions and not their squared errors. The
    # one of scikit-learn's name checks its arguments for longer than the fit takes.
    model = RidgeCV(RIDGE_PENALTIES, scoring=_negative_error, store_cv_results=True)
    model.fit((inputs - center) / scale, truth)
    coefficients = model.coef_ / scale
    left_out = model.cv_results_[:, RIDGE_PENALTIES.tolist().index(model.alpha_)]
    return coefficients, float(model.intercept_ - coefficients @ center), truth - left_out


def _negative_error(_: object, predictions: Floats, truth: Floats) -> float:
    return -float(np.mean((truth - predictions) ** 2))


class Ridge:
    """`fit_ridge` on `step_inputs` and the whole profile before the origin."""

    errors: Floats

    def fit(self, features: Features, truth: Floats) -> Self:
        """Fit one model a slot; truth (n, H)."""
        self._knots = hinge_knots(features)
        step = step_inputs(features, self._knots)
        self._linear = fit_ridge(step, features.profile, truth - features.reference)
        self.errors = self._linear.errors
        return self

    def predict(self, features: Features) -> Floats:
        """Forecast every slot, (n, H)."""
        step = step_inputs(features, self._knots)
        return features.reference + self._linear.predict(step, features.profile)


class BoostedTrees:
    """Histogram gradient boosting of the squared error over all slots together.

    Every fifth week tells when to stop, and how large the errors are; then as many trees are
    fitted to all weeks. Rate, size and the share of features tried at a split were chosen on
    validation days.
    """

    errors: Floats

    def fit(self, features: Features, truth: Floats) -> Self:
        """Fit one ensemble for all slots; truth (n, H)."""
        held = held_out(len(truth))
        kept, rest = np.flatnonzero(held), np.flatnonzero(~held)
        inputs, correction = self._inputs(features), truth - features.reference
        flat = np.repeat(held, truth.shape[1])
        self._trees = _trees(MOST_TREES, early_stopping=True)
        self._trees.fit(
            inputs[~flat],
            correction[rest].ravel(),
            X_val=inputs[flat],
            y_val=correction[kept].ravel(),
        )
        self.errors = correction[kept] - self._trees.predict(inputs[flat]).reshape(len(kept), -1)
        self._trees = _trees(self._trees.n_iter_).fit(inputs, correction.ravel())
        return self

    def predict(self, features: Features) -> Floats:
        """Forecast every slot, (n, H)."""
        correction = self._trees.predict(self._inputs(features))
        values: Floats = features.reference + correction.reshape(features.reference.shape)
        return values

    def _inputs(self, features: Features) -> Floats:
        slot = np.broadcast_to(np.arange(features.hour.shape[1]), features.hour.shape)
        extra = np.stack([features.hour, features.weekday, slot], axis=-1)
        columns = np.concatenate([features.step, extra], axis=-1)
        return columns.reshape(-1, columns.shape[-1])


def _trees(most: int, early_stopping: bool = False) -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(
        learning_rate=0.1,
        max_iter=most,
        min_samples_leaf=40,
        l2_regularization=1.0,
        max_features=0.3,
        early_stopping=early_stopping,
        n_iter_no_change=10,
        random_state=0,
    )


def held_out(days: int) -> NDArray[np.bool_]:
    """Whether each of so many days belongs to the last of five weeks, or of five parts if few."""
    length = 7 if days >= 7 * WEEKS else max(1, days // WEEKS)
    held: NDArray[np.bool_] = np.arange(days) // length % WEEKS == WEEKS - 1
    return held
