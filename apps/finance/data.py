"""The finance application's data: a panel cut into windows that end on a day."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from apps.base.account import Account
from apps.base.application import DataModule
from apps.base.sampler import EpochSampler, TrainLoader
from apps.base.series_task import Batch
from apps.errors import UserError
from apps.finance.choices import Base
from apps.finance.features import Encoding, Features, fit_encoding
from apps.finance.har_gjr import Refits
from apps.finance.panel import Panel, Part
from apps.finance.sources import Source
from apps.finance.split import Split

Indices = NDArray[np.intp]

# So that the baselines, too, have enough: see `har_gjr.LEAST_FITTED`.
LEAST_DAYS: dict[Part, int] = {"train": 300, "val": 20, "test": 20}
DAY_SEEN = 4  # times in an epoch at most: horizons overlap, and are soon learnt by heart


@dataclass(frozen=True, eq=False)
class Windows(Dataset[Batch]):
    """The samples (day, asset) of a panel, fetched a batch at a time.

    features (T, A, F), base variance (T, A) of the horizon after the day (see `Encoding.base`);
    returns (T + horizon, A), NaN where not known; rows, assets: (N,) which samples.
    """

    features: Tensor
    base: Tensor
    returns: Tensor
    rows: Tensor
    assets: Tensor
    lookback: int
    horizon: int

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> Batch:
        """Window (B, lookback, F), base (B,) and daily returns of the horizon (B, horizon)."""
        rows, assets = self.rows[indices], self.assets[indices]
        before = rows[:, None] + torch.arange(1 - self.lookback, 1)
        ahead = rows[:, None] + torch.arange(1, self.horizon + 1)
        return (
            self.features[before, assets[:, None]],
            self.base[rows, assets],
            self.returns[ahead, assets[:, None]],
        )


def _whole(batch: Any) -> Any:
    """`Windows` returns whole batches already."""
    return batch


class PanelData(DataModule):
    """Daily returns cut into windows; a sample is a day and an asset.

    horizon: days ahead that a forecast covers. samples_per_epoch: samples drawn in an epoch, at
    most all, and so many that a day lies in four horizons on average. base: the variance that the
    network corrects. refit_years: between fits of the models that it is made of (see `Refits`).
    """

    def __init__(
        self,
        source: Source,
        split: Split,
        features: Features,
        *,
        horizon: int,
        batch_size: int,
        samples_per_epoch: int,
        seed: int,
        base: Base = "moving_average",
        refit_years: int = 1,
    ) -> None:
        super().__init__()
        self.source = source
        self.split = split
        self.features = features
        self.horizon = horizon
        self.batch_size = batch_size
        self.samples_per_epoch = samples_per_epoch
        self.seed = seed
        self.base = base
        self.refit_years = refit_years

    def prepare_data(self) -> None:
        """Fetch what has to be fetched."""
        self.source.fetch()

    def setup(self, stage: str) -> None:
        """Read the panel and fit the scales, once."""
        if hasattr(self, "panel"):
            return
        self.panel: Panel = self.split.apply(self.source.read())
        self._check_length()
        self.encoding: Encoding = fit_encoding(
            self.panel, self.features, self.horizon, self._refits()
        )
        parts: tuple[Part, ...] = ("train", "val", "test")
        counts = {part: len(self.origins(part)) for part in parts}
        for part, least in LEAST_DAYS.items():
            if counts[part] < least:
                raise UserError(
                    f"{self.source.name}: too short a series: {counts[part]} days to {part} on; "
                    f"at least {least} are needed"
                )
        self.account = self._account(counts)

    def _refits(self) -> Refits | None:
        if self.base == "moving_average":
            return None
        borders = (self.panel.train_start, self.panel.val_start, self.panel.test_start)
        train, val, test = (f"{day:%Y-%m-%d}" for day in borders)
        return Refits(train, val, test, self.refit_years, self.base == "combined")

    def _check_length(self) -> None:
        needed = self.features.lookback + LEAST_DAYS["train"]
        if len(self.panel.dates) < needed:
            raise UserError(
                f"{self.source.name}: {len(self.panel.dates)} days are too few: the lookback is "
                f"{self.features.lookback} days and training needs {LEAST_DAYS['train']} more"
            )

    @property
    def description(self) -> dict[str, object]:
        """What a trained run has to know about its data, as plain values."""
        return self.encoding.to_dict() | {"options": dict(self.panel.options)}

    @property
    def preview(self) -> pd.DataFrame:
        """The returns of every asset as they were read, in %."""
        frame = pd.DataFrame(self.panel.returns, columns=list(self.panel.assets)).round(3)
        return frame.assign(date=self.panel.dates)[["date", *self.panel.assets]]

    @property
    def fingerprint(self) -> str:
        """A hash of the returns, ranges, splits and horizon."""
        digest = hashlib.sha256(self.panel.returns.tobytes() + self.panel.ranges.tobytes())
        bounds = [self.panel.bounds(part) for part in ("train", "val", "test")]
        digest.update(f"{bounds} {self.block_rows()} {self.horizon} {self.panel.dates[0]}".encode())
        return digest.hexdigest()[:16]

    def origins(self, part: Part) -> Indices:
        """Rows of the days (N,) from which a part is forecast, with enough history."""
        rows = self.panel.origins(part, self.horizon)
        kept: Indices = rows[self.encoding.is_known(self.panel)[rows]]
        return kept

    def block_rows(self) -> list[int]:
        """The rows from which the blocks of a walk-forward test are forecast, but the first."""
        starts = self.split.starts(self.panel)
        return [int(row) - 1 for row in self.panel.dates.searchsorted(starts[1:])]

    def windows(self, rows: Indices) -> Windows:
        """Samples of all assets on these days, day by day."""
        return make_windows(self.panel, self.encoding, rows)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Samples of the training part, a new draw in each epoch."""
        windows = self.windows(self.origins("train"))
        sampler = self._sampler(len(windows))
        return TrainLoader(windows, self.batch_size, sampler=sampler, collate_fn=_whole)

    def val_dataloader(self) -> DataLoader[Batch]:
        """All samples of the validation part."""
        windows = self.windows(self.origins("val"))
        return DataLoader(windows, max(self.batch_size, 256), collate_fn=_whole)

    def batches(self, epoch: int) -> list[tuple[Indices, Indices]]:
        """Rows and assets of the batches that training sees in an epoch (0, 1, ...)."""
        rows, assets = _samples(self.origins("train"), len(self.panel.assets))
        sampler = self._sampler(len(rows))
        sampler.set_epoch(epoch)
        order = np.fromiter(sampler, np.intp)
        count = math.ceil(len(order) / self.batch_size)
        cuts = np.split(order, np.arange(1, count) * self.batch_size)
        return [(rows[cut], assets[cut]) for cut in cuts]

    def _sampler(self, size: int) -> EpochSampler:
        most = math.ceil(size * DAY_SEEN / self.horizon)
        return EpochSampler(size, min(self.samples_per_epoch, most), self.seed)

    def _account(self, counts: dict[Part, int]) -> Account:
        panel, dates = self.panel, self.panel.dates
        many = len(panel.assets) > 1
        lines = {
            "file": f"{self.source.name}: {panel.found or 'a prepared data set'}",
            "rows": f"{len(dates)} days from {dates[0]:%Y-%m-%d} to {dates[-1]:%Y-%m-%d}",
            "repaired": panel.account or "nothing",
            "target": f"returns of {f'{len(panel.assets)} assets' if many else panel.assets[0]}",
            "ranges": "from high and low" if self.encoding.ranges else "none",
        }
        for part, count in counts.items():
            rows = self.origins(part)
            first, last = dates[rows[0] + 1], dates[rows[-1] + 1]
            lines[part] = f"{count} days, {first:%Y-%m-%d} to {last:%Y-%m-%d}"
        return Account(lines)


def make_windows(panel: Panel, encoding: Encoding, rows: Indices) -> Windows:
    """The samples of all assets of a panel on the days `rows` (N,), day by day."""
    unknown = np.full((encoding.horizon, len(panel.assets)), np.nan)
    returns = np.concatenate([panel.returns, unknown])
    days, assets = _samples(rows, len(panel.assets))
    return Windows(
        features=torch.from_numpy(encoding.encode(panel)),
        base=torch.from_numpy(encoding.base(panel).astype(np.float32)),
        returns=torch.from_numpy(returns.astype(np.float32)),
        rows=torch.from_numpy(days),
        assets=torch.from_numpy(assets),
        lookback=encoding.features.lookback,
        horizon=encoding.horizon,
    )


def _samples(rows: Indices, num_assets: int) -> tuple[Indices, Indices]:
    """Every day with every asset: rows and asset numbers (N * A,)."""
    return rows.repeat(num_assets), np.tile(np.arange(num_assets), len(rows))
