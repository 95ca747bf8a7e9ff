"""How a series becomes the inputs of a network that starts as a regression: one row a day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apps.energy.calendar import DAY
from apps.energy.encoding import Array, Encoding, fit_encoding
from apps.energy.forecast import Floats
from apps.energy.logarithm import Logarithm, training_targets
from apps.energy.regression_features import (
    HISTORY_DAYS,
    build,
    last_season,
    profile_steps,
    target_rows,
)
from apps.energy.regressions import fit_ridge, hinge_knots, step_inputs
from apps.energy.series import Series
from apps.errors import UserError

# Weather tells what more lags stand in for: beside covariates they only add variance, as they do
# with few training days, of which the longest takes its length. Else rolling origins decide.
PLAIN_LAGS = (3, 4, 5, 6, 21, 28)
DAYS_FOR_LAGS = 224
LEAST_DAYS = 8
BLOCKS = 2  # of as many more
LEAST_GAIN = 0.02  # of the error: less may be chance


@dataclass(frozen=True, slots=True)
class RegressionFeatures:
    """Which features a network sees that starts as a ridge regression.

    They are those of the ridge baseline (see `regression_features`), with more lags.
    lookback_days: days before the origin that are read step by step. more_lags: days back of
    the target beside 1, 2, 7 and 14; None: PLAIN_LAGS where no covariates are known ahead, the
    training part has DAYS_FOR_LAGS and a ridge with them errs less there on rolling origins; else
    none.
    """

    lookback_days: int = 1
    more_lags: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.lookback_days < 1:
            raise ValueError(f"lookback_days must be >= 1, got {self.lookback_days}")
        if self.more_lags is not None and min(self.more_lags, default=1) < 1:
            raise ValueError(f"more_lags must be whole days >= 1, got {list(self.more_lags)}")

    def fit(self, series: Series, **settings: Any) -> RegressionEncoding:
        """Fit scales, logarithm and hinges on the training part of a series."""
        return fit_regression_encoding(series, self, **settings)


@dataclass(frozen=True, slots=True)
class RegressionInputs:
    """A series as arrays of its days, all float32.

    rows (D,) are the origins; past (D, P, 1) the profile before each; future (D, H, 1 + F) the
    reference, which a regression corrects, and its other inputs; target (D, H). All stand in the
    order of the time of day, in which they were learnt from midnight on: where origins are `shift`
    steps after midnight, so many values at the end come first.
    """

    rows: NDArray[np.intp]
    past: Array
    future: Array
    target: Array
    first: int
    shift: int = 0

    def batch(self, origins: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        """Past (B, P, 1), future (B, H, 1 + F) and target (B, H) of origins (B,)."""
        days = np.searchsorted(self.rows, origins)
        return self.past[days], self.future[days], self.target[days]


@dataclass(frozen=True, slots=True)
class RegressionEncoding(Encoding):
    """As `Encoding`, for the inputs of a regression.

    floor: of the logarithm (see `Logarithm`). knots: of the hinges. width: inputs of a step.
    naive: whether the ridge corrects yesterday's values by nothing, as it would not pay.
    later_from: the first origin (ISO 8601) of the ridge that has seen validation days, too.
    share: of the network in its forecast, the rest being the ridge's; chosen after training.
    """

    kind: ClassVar[type[Any]] = RegressionFeatures

    floor: float | None = None
    knots: tuple[tuple[float, ...], ...] = ()
    width: int = 0
    naive: bool = False
    later_from: str = ""
    share: float = 1.0

    @property
    def history_days(self) -> int:
        """Days of history that a forecast needs."""
        return int(max(HISTORY_DAYS, self.features.lookback_days, *self.features.more_lags))

    @property
    def lookback(self) -> int:
        """Steps of the profile."""
        return profile_steps(self.steps_per_day, self.features.lookback_days)

    @property
    def widths(self) -> tuple[int, int]:
        """Columns of the past and of the future table."""
        return 1, self.width

    def encode(self, series: Series) -> RegressionInputs:  # type: ignore[override]
        """The inputs of every day of a series with the same covariates and step.

        Days start as the test does: at midnight, or where the known part of a user's file ends.
        UserError where that cannot be, since the horizon is no whole number of days.
        """
        scaled = self._scaled(series)
        first = self.history_days * self.steps_per_day
        origins = self._origins(series, first)
        features = build(
            scaled,
            origins,
            self.horizon,
            known_ahead=True,
            more_lags=self.features.more_lags,
            profile_days=self.features.lookback_days,
        )
        step = step_inputs(features, np.asarray(self.knots))
        reference = features.reference
        if self.naive:
            reference = last_season(scaled, origins, self.horizon)
        future = np.concatenate([reference[..., None], step], axis=-1)
        rows = series.positions(origins)
        target = scaled.frame["target"].to_numpy()[rows[:, None] + np.arange(self.horizon)]
        shift = int((series.test_start - series.test_start.normalize()) // series.frequency)
        if shift and self.horizon % self.steps_per_day:
            raise UserError(
                f"a forecast from {series.test_start}: this run's horizon is no whole number of"
                " days, and so it forecasts from midnight alone"
            )
        return RegressionInputs(
            rows=rows,
            past=self._by_time_of_day(features.profile, shift)[..., None].astype(np.float32),
            future=np.roll(future, shift, axis=1).astype(np.float32),
            target=np.roll(target, shift, axis=1).astype(np.float32),
            first=first,
            shift=shift,
        )

    def _origins(self, series: Series, first: int) -> pd.DatetimeIndex:
        """Every start of a day with enough history and a whole horizon after it."""
        start = pd.Timestamp(series.frame.index[0]) + first * series.frequency
        last = series.frame.index[-1] - (self.horizon - 1) * series.frequency
        days = pd.date_range(start.normalize(), last, freq="D")
        origins = days + (series.test_start - series.test_start.normalize())
        return origins[(origins >= start) & (origins <= last)]

    def _by_time_of_day(self, profile: Floats, shift: int) -> Floats:
        """The profile (N, P) with the values of each day in the order of the time of day."""
        days = profile.reshape(len(profile), -1, self.steps_per_day)
        return np.roll(days, shift, axis=2).reshape(profile.shape)

    def unscale(self, values: NDArray[Any]) -> Floats:
        """Scaled target values in the unit of the data."""
        scaled = values.astype(np.float64) * self.scale[0] + self.center[0]
        result: Floats = Logarithm(self.floor).inverse(scaled)
        return result

    def _scaled(self, series: Series) -> Series:
        """The series with its target regressed and scaled."""
        regressed = Logarithm(self.floor).apply(series)
        target = (regressed.frame["target"] - self.center[0]) / self.scale[0]
        return replace(regressed, frame=regressed.frame.assign(target=target))


def fit_regression_encoding(
    series: Series, features: RegressionFeatures, **settings: Any
) -> RegressionEncoding:
    """Fit the logarithm, the scales and the hinges on the training part of a series."""
    logarithm = Logarithm.fit(training_targets(series))
    regressed = logarithm.apply(series)
    if features.more_lags is None:
        features = replace(features, more_lags=_lags(regressed, settings["horizon"]))
    scales = fit_encoding(regressed, features, **settings)
    values = {field.name: getattr(scales, field.name) for field in fields(scales)}
    encoding = RegressionEncoding(**values, floor=logarithm.floor)
    start = pd.Timestamp(series.frame.index[0]) + encoding.history_days * DAY
    origins = series.origins(start.ceil("D"), series.val_start, encoding.horizon)
    if len(origins) < LEAST_DAYS:
        raise UserError(
            f"{len(origins)} whole days to train on before {series.val_start}, after the"
            f" {encoding.history_days} days of history that a forecast needs; it takes"
            f" {LEAST_DAYS} to fit the ridge that model=ridge_residual begins as"
        )
    sample = build(
        series, origins, encoding.horizon, known_ahead=True, more_lags=features.more_lags or ()
    )
    knots = hinge_knots(sample)
    width = 1 + step_inputs(sample, knots).shape[-1]
    return replace(
        encoding,
        knots=tuple(map(tuple, knots.tolist())),
        width=width,
        naive=_naive_is_enough(regressed, origins, encoding.horizon, features.more_lags or ()),
        later_from=series.test_start.isoformat(),
    )


def _lags(series: Series, horizon: int) -> tuple[int, ...]:
    """PLAIN_LAGS where they help a ridge on days of training after those it saw, else none."""
    start = pd.Timestamp(series.frame.index[0])
    if series.covariates or series.val_start - start < DAYS_FOR_LAGS * DAY:
        return ()
    origins = series.origins(start + max(PLAIN_LAGS) * DAY, series.val_start, horizon)
    if len(origins) < LEAST_DAYS:
        return ()
    errors = [_rolling_error(series, origins, horizon, lags) for lags in ((), PLAIN_LAGS)]
    return PLAIN_LAGS if errors[1] < (1 - LEAST_GAIN) * errors[0] else ()


def _naive_is_enough(
    series: Series, origins: pd.DatetimeIndex, horizon: int, lags: Sequence[int]
) -> bool:
    """Whether a ridge saves too little of yesterday's error on training days that it did not see.

    So it is with a random walk, to which every coefficient adds noise.
    """
    truth = series.frame["target"].to_numpy()[target_rows(series, origins, horizon)]
    naive = np.abs(truth - last_season(series, origins, horizon))
    usual = np.abs(truth - build(series, origins, horizon, known_ahead=False).reference)
    if naive.mean() > usual.mean():  # a season, which the ridge will find: no need to fit it
        return False
    tested = np.concatenate(np.array_split(naive, 2 * BLOCKS)[BLOCKS:]).mean()
    return _rolling_error(series, origins, horizon, lags) > (1 - LEAST_GAIN) * float(tested)


def _rolling_error(
    series: Series, origins: pd.DatetimeIndex, horizon: int, lags: Sequence[int]
) -> float:
    """The mean absolute error of a ridge on each of the last BLOCKS, fitted on those before it."""
    features = build(series, origins, horizon, known_ahead=True, more_lags=lags)
    step = step_inputs(features, hinge_knots(features))
    truth = series.frame["target"].to_numpy()[target_rows(series, origins, horizon)]
    left = truth - features.reference
    blocks = np.array_split(np.arange(len(origins)), 2 * BLOCKS)
    errors = []
    for number in range(BLOCKS, 2 * BLOCKS):
        before, after = np.concatenate(blocks[:number]), blocks[number]
        ridge = fit_ridge(step[before], features.profile[before], left[before])
        errors.append(np.abs(left[after] - ridge.predict(step[after], features.profile[after])))
    return float(np.concatenate(errors).mean())


def read_encoding(record: Mapping[str, Any]) -> Encoding:
    """The encoding that a run noted; UserError for a record that is none."""
    kind = RegressionEncoding if "knots" in record else Encoding
    return kind.from_dict(record)
