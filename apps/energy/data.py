"""The energy application's data: a series cut into windows around forecast origins."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from apps.base.account import Account
from apps.base.application import DataModule
from apps.base.sampler import EpochSampler, TrainLoader
from apps.base.series_task import Batch
from apps.energy.days_off import are_off
from apps.energy.encoding import Encoding, Features, Inputs
from apps.energy.forecast import LEVELS
from apps.energy.gaps import step_name
from apps.energy.metrics import mase_scale
from apps.energy.regression_encoding import RegressionFeatures, RegressionInputs
from apps.energy.series import Part, Series
from apps.energy.sources import Source
from apps.errors import UserError

PASSES = 5  # over the days in an epoch, which would else be too few to validate after


class Windows(Dataset[Batch]):
    """Windows of a series around forecast origins, fetched a batch at a time."""

    def __init__(self, inputs: Inputs | RegressionInputs, origins: NDArray[np.intp]) -> None:
        self.inputs = inputs
        self.origins = origins

    def __len__(self) -> int:
        """Number of origins."""
        return len(self.origins)

    def __getitems__(self, indices: list[int]) -> Batch:
        """Past (B, lookback, P), future (B, horizon, F) and target (B, horizon)."""
        past, future, target = self.inputs.batch(self.origins[indices])
        return torch.from_numpy(past), torch.from_numpy(future), torch.from_numpy(target)


def _whole(batch: Any) -> Any:
    """`Windows` returns whole batches already."""
    return batch


class SeriesData(DataModule):
    """A series cut into windows.

    Training windows start at every step, those of a regression's inputs, of validation and test
    at midnight.
    samples_per_epoch: windows drawn in an epoch. horizon: steps to forecast (default: a day; a
    week of daily data).
    """

    def __init__(
        self,
        source: Source,
        features: Features | RegressionFeatures,
        *,
        batch_size: int,
        samples_per_epoch: int,
        seed: int,
        horizon: int | None = None,
    ) -> None:
        super().__init__()
        self.source = source
        self.features = features
        self.batch_size = batch_size
        self.samples_per_epoch = samples_per_epoch
        self.seed = seed
        self.horizon = horizon

    def prepare_data(self) -> None:
        """Fetch what has to be fetched."""
        self.source.fetch()

    def setup(self, stage: str) -> None:
        """Read the series and fit the scales, once."""
        if hasattr(self, "series"):
            return
        self.series = self.source.read()
        horizon = self.horizon or self.series.horizon
        self._check_weekdays(horizon)
        self.encoding: Encoding = self.features.fit(
            self.series,
            timestamp=_first(self.series.options.timestamp),
            target=str(self.series.options.target),
            horizon=horizon,
            levels=LEVELS,
            mase_scale=mase_scale(self.series),
        )
        self.inputs = self.encoding.encode(self.series)
        parts: tuple[Part, ...] = ("train", "val", "test")
        counts = {part: len(self.origins(part)) for part in parts}
        if min(counts.values()) < 1:
            raise UserError(
                f"{self.source.name}: too short a series: whole days to train, validate and test "
                f"on, after {self.encoding.history_days} days of history: "
                f"{', '.join(map(str, counts.values()))}; at least 1 each is needed"
            )
        self.account = self._account(counts)

    @property
    def description(self) -> dict[str, object]:
        """What a trained run has to know about its data, as plain values."""
        return self.encoding.to_dict() | {"options": self.series.options.to_dict()}

    @property
    def preview(self) -> pd.DataFrame:
        """The series as it was read, in the user's names."""
        frame = self.series.frame.rename(columns={"target": self.encoding.target})
        return frame.rename_axis(self.encoding.timestamp).reset_index()

    @property
    def fingerprint(self) -> str:
        """A hash of the values, their splits and the horizon."""
        values = pd.util.hash_pandas_object(self.series.frame).to_numpy().tobytes()
        bounds = [self.series.bounds(part) for part in ("train", "val", "test")]
        off = None if self.series.days_off is None else self.series.days_off.tolist()
        text = f"{bounds} {self.encoding.horizon} {off}".encode()
        return hashlib.sha256(values + text).hexdigest()[:16]

    def origins(self, part: Part) -> pd.DatetimeIndex:
        """The midnights of a part from which a whole horizon can be forecast and scored."""
        start, end = self.series.bounds(part)
        return self.series.origins(start, end, self.encoding.horizon, self.inputs.first)

    def training_rows(self) -> NDArray[np.intp]:
        """The rows of the training part at which a window of observed targets starts."""
        if isinstance(self.inputs, RegressionInputs):
            return np.tile(self.series.positions(self.origins("train")), PASSES)
        end = int(self.series.positions(pd.DatetimeIndex([self.series.val_start]))[0])
        rows = np.arange(self.inputs.first, end - self.encoding.horizon + 1)
        windows = np.lib.stride_tricks.sliding_window_view(
            self.series.observed, self.encoding.horizon
        )
        return rows[windows[rows].all(axis=1)]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Windows of the training part, a new draw in each epoch."""
        windows = Windows(self.inputs, self.training_rows())
        sampler = EpochSampler(len(windows), self.samples_per_epoch, self.seed)
        return TrainLoader(windows, self.batch_size, sampler=sampler, collate_fn=_whole)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Windows at every midnight of the validation part."""
        windows = Windows(self.inputs, self.series.positions(self.origins("val")))
        return DataLoader(windows, max(self.batch_size, 64), collate_fn=_whole)

    def _check_weekdays(self, horizon: int) -> None:
        """UserError for a horizon that reaches over the weekends that the series lacks."""
        series = self.series
        reaches = series.weekdays and horizon > series.horizon
        if reaches and not len(series.origins(*series.bounds("train"), horizon)):
            raise UserError(
                f"{self.source.name}: no weekends; set app.horizon={self.series.horizon} or less"
            )

    def _account(self, counts: dict[Part, int]) -> Account:
        series, encoding = self.series, self.encoding
        frame = series.frame
        lines = {
            "file": f"{self.source.name}: {series.found or 'a prepared data set'}",
            "rows": (
                f"{len(frame)}, one each {step_name(series.frequency)}, from {frame.index[0]} to "
                f"{frame.index[-1]}"
            ),
            "clock": _clock(series),
            "repaired": series.account or "nothing",
            "target": encoding.target,
            "known ahead": ", ".join(series.covariates) or "none",
            "past only": ", ".join(series.past_covariates) or "none",
            "days off": _days_off(series),
        }
        for part, count in counts.items():
            start, end = series.bounds(part)
            last = end - series.frequency
            lines[part] = f"{count} days to forecast from, {start} to {last}"
        return Account(lines)


def _first(names: str | Sequence[str] | None) -> str:
    return names if isinstance(names, str) else (names or ["timestamp"])[0]


def _days_off(series: Series) -> str:
    if series.days_off is None:
        return "not known: data.country or data.workday tells"
    country, column = series.options.country, series.options.workday
    source = f"public holidays of {country}" if country else f"where {column} is 0"
    count = len(np.unique(series.civil[are_off(series.civil, series.days_off)].normalize()))
    return f"{count}, as Sundays: {source}"


def _clock(series: Series) -> str:
    offset = f"UTC{series.utc_offset}" if series.utc_offset not in (None, "Z") else "UTC"
    fixed = "as written, without a zone" if series.utc_offset is None else offset
    civil = f"; civil time of {series.timezone}" if series.timezone else ""
    return f"{fixed}{civil}"
