"""The energy application's data: a series cut into windows around forecast origins."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from apps.base.application import DataModule
from apps.base.sampler import EpochSampler
from apps.energy.encoding import Encoding, Features, Inputs, fit_encoding
from apps.energy.forecast import LEVELS
from apps.energy.gaps import step_name
from apps.energy.metrics import mase_scale
from apps.energy.series import Part
from apps.energy.sources import Source
from apps.errors import UserError

Batch = tuple[Tensor, Tensor, Tensor]


class Windows(Dataset[Batch]):
    """Windows of a series around forecast origins, fetched a batch at a time."""

    def __init__(self, inputs: Inputs, origins: NDArray[np.intp]) -> None:
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

    Training windows start at every step, validation and test windows at midnight.
    samples_per_epoch: windows drawn in an epoch. horizon: steps to forecast (default: a day; a
    week of daily data).
    """

    def __init__(
        self,
        source: Source,
        features: Features,
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
        self.encoding: Encoding = fit_encoding(
            self.series,
            self.features,
            timestamp=self.source.timestamp,
            target=self.source.target,
            horizon=self.horizon or self.series.horizon,
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
        return self.encoding.to_dict()

    @property
    def fingerprint(self) -> str:
        """A hash of the values, their splits and the horizon."""
        values = pd.util.hash_pandas_object(self.series.frame).to_numpy().tobytes()
        bounds = [self.series.bounds(part) for part in ("train", "val", "test")]
        text = f"{bounds} {self.encoding.horizon}".encode()
        return hashlib.sha256(values + text).hexdigest()[:16]

    def origins(self, part: Part) -> pd.DatetimeIndex:
        """The midnights of a part from which a whole horizon can be forecast and scored."""
        start, end = self.series.bounds(part)
        return self.series.origins(start, end, self.encoding.horizon, self.inputs.first)

    def training_rows(self) -> NDArray[np.intp]:
        """The rows of the training part at which a window of observed targets starts."""
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
        return DataLoader(windows, self.batch_size, sampler=sampler, collate_fn=_whole)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Windows at every midnight of the validation part."""
        windows = Windows(self.inputs, self.series.positions(self.origins("val")))
        return DataLoader(windows, max(self.batch_size, 64), collate_fn=_whole)

    def _account(self, counts: dict[Part, int]) -> str:
        frame = self.series.frame
        covariates = ", ".join(self.series.covariates) or "none"
        changed = f" {self.series.account}" if self.series.account else ""
        return (
            f"{self.source.name}: {len(frame)} rows, one each {step_name(self.series.frequency)}, "
            f"from {frame.index[0]} to {frame.index[-1]}; days to train, validate, test: "
            f"{', '.join(map(str, counts.values()))}; known ahead: {covariates}.{changed}"
        )
