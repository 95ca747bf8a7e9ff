"""Prices for the tests: a market whose volatility comes in clusters."""

from __future__ import annotations

import numpy as np
import pandas as pd

from apps.finance.panel import Panel, make_panel

DAYS = 1400

# A network and a budget so small that a training takes a second.
TINY = (
    "app=finance",
    "model=lstm",  # which needs no classical models fitted first; see test_har_gjr
    "model.hidden_size=4",
    "training.epochs=2",
    "app.batch_size=64",
    "app.samples_per_epoch=128",
    "app.recalibration_days=0",
    "logger=none",
)


def price_table(days: int = DAYS, seed: int = 0) -> pd.DataFrame:
    """Date, open, high, low, close and volume of a GARCH-like market."""
    rng = np.random.default_rng(seed)
    shocks = rng.standard_t(6, size=days) * np.sqrt(4 / 6)
    variance, returns = np.empty(days), np.empty(days)
    variance[0] = 1.0
    for day in range(days):
        returns[day] = np.sqrt(variance[day]) * shocks[day]
        if day + 1 < days:
            variance[day + 1] = 0.05 + 0.08 * returns[day] ** 2 + 0.87 * variance[day]
    close = 100 * np.exp(np.cumsum(returns) / 100)
    opening = np.append(100.0, close[:-1])
    spread = np.exp(np.sqrt(variance) * rng.uniform(0.2, 0.8, size=(2, days)) / 100)
    return pd.DataFrame(
        {
            "date": pd.bdate_range("2015-01-01", periods=days),
            "open": opening,
            "high": np.maximum(opening, close) * spread[0],
            "low": np.minimum(opening, close) / spread[1],
            "close": close,
            "volume": 1000,
        }
    )


def borders(table: pd.DataFrame) -> dict[str, pd.Timestamp]:
    """Splits after 60 % and 75 % of the days."""
    dates = pd.DatetimeIndex(table["date"])
    return {
        "train_start": dates[0],
        "val_start": dates[int(0.6 * len(dates))],
        "test_start": dates[int(0.75 * len(dates))],
        "end": dates[-1] + pd.Timedelta(days=1),
    }


def make(num_assets: int = 1, days: int = DAYS, ranges: bool = True) -> Panel:
    """A panel of such markets."""
    tables = [price_table(days, seed).assign(asset=f"A{seed}") for seed in range(num_assets)]
    table = pd.concat(tables)
    columns = ["date", "asset", "close", *(["high", "low"] if ranges else [])]
    return make_panel(table[columns], borders(tables[0]), "", "toy")


def tampered(panel: Panel, row: int) -> Panel:
    """The same panel with other returns and ranges after a row."""
    from dataclasses import replace

    returns, ranges = panel.returns.copy(), panel.ranges.copy()
    returns[row + 1 :] = 7.0 - 3.0 * returns[row + 1 :]
    ranges[row + 1 :] *= 50.0
    return replace(panel, returns=returns, ranges=ranges)
