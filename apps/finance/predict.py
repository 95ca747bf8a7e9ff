"""The user's file that a trained run forecasts from, and the table that it gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from apps.errors import UserError
from apps.finance.features import Encoding
from apps.finance.forecast import TAILS, Forecast
from apps.finance.panel import Panel
from apps.finance.user_file import PriceOptions, panel_of, read_prices


def read_user_file(path: Path, encoding: Encoding, options: PriceOptions) -> Panel:
    """The returns of a file of daily prices, read as that of the training was.

    Raises UserError for a file with too little history, or without the highs and lows that the
    run was trained with.
    """
    prices = read_prices(path, options)
    table = prices.table
    if encoding.ranges and "high" not in table.columns:
        raise UserError(f"{path}: no columns 'high' and 'low', which the run was trained with")
    if len(table) <= encoding.history:
        raise UserError(
            f"{path}: {len(table)} rows of prices; a forecast needs {encoding.history + 1} "
            f"(a lookback of {encoding.features.lookback} days and what its averages need)"
        )
    if len([name for name in encoding.names if name.startswith("market")]):
        market = "the market of the run's features is this asset alone"
        prices = replace(prices, notes=(*prices.notes, market))
    dates = pd.DatetimeIndex(table["date"])
    borders = {"train_start": dates[0], "val_start": dates[-1], "test_start": dates[-1]}
    return panel_of(prices, path, {**borders, "end": dates[-1]})


def options_of(description: Mapping[str, Any]) -> PriceOptions:
    """How to read a file for a run: as its training file; older runs noted two names alone."""
    if description.get("options"):
        return PriceOptions.from_dict(description["options"])
    return PriceOptions(date=description.get("date"), close=description.get("close"))


def risk_table(forecast: Forecast, horizon: int) -> pd.DataFrame:
    """One row an asset from the last origin, all in % of the price, losses negative."""
    last = forecast.select(np.arange(len(forecast.origins)) == len(forecast.origins) - 1)
    columns = {
        "asset": list(last.assets),
        "after": [f"{last.origins[0]:%Y-%m-%d}"] * len(last.assets),
        "days": horizon,
        "volatility": np.sqrt(last.variance[0]),
        "mean": last.mean[0],
    }
    for number, level in enumerate(TAILS):
        columns[f"var_{100 * level:g}"] = last.quantile(level)[0]
        columns[f"es_{100 * level:g}"] = last.shortfall[0, :, number]
    return pd.DataFrame(columns)
