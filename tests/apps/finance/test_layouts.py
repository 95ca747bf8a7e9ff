"""Prices as their sources write them: each gives the same closes on the same days."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from apps.errors import UserError
from apps.finance.user_file import PriceOptions, Prices, read_prices
from apps.tables.reading import Reading
from tests.apps.finance.layouts import CLOSE, DATES, DAYS, HIGH, LAYOUTS, LOW, lines


def read(folder: Path, text: str, **options: object) -> Prices:
    path = folder / "prices.csv"
    path.write_text(text, encoding="utf-8")
    return read_prices(path, PriceOptions(**options))


def refused(folder: Path, text: str, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        read(folder, text, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_source_is_known_by_its_header(tmp_path, name):
    found = read(tmp_path, LAYOUTS[name])
    assert pd.DatetimeIndex(found.table["date"]).equals(DATES)
    np.testing.assert_allclose(found.table["close"], CLOSE)
    if name != "FRED":
        np.testing.assert_allclose(found.table["high"], HIGH)
        np.testing.assert_allclose(found.table["low"], LOW)


def test_one_ticker_of_several_is_chosen(tmp_path):
    header = "Price,Close,Close\nTicker,AAPL,MSFT\nDate,,"
    text = lines(header, lambda d, o, h, low, c, v: f"{d:%Y-%m-%d},{c},{3 * c}")
    assert "choose one with data.id=AAPL" in refused(tmp_path, text)
    np.testing.assert_allclose(read(tmp_path, text, id="MSFT").table["close"], 3 * CLOSE)
    assert "data.id=IBM: no such value" in refused(tmp_path, text, id="IBM")


@pytest.mark.parametrize("levels", [["Price", "Ticker"], ["Ticker", "Price"]])
def test_names_that_a_sheet_of_yfinance_writes_once_for_several_columns(tmp_path, levels):
    closes = {"AAPL": CLOSE, "MSFT": 3 * CLOSE}
    table = pd.concat({t: pd.DataFrame({"Close": c, "High": c}) for t, c in closes.items()}, axis=1)
    table = table.set_index(DATES.rename("Date")).rename_axis(columns=["Ticker", "Price"])
    table.reorder_levels(levels, axis=1).sort_index(axis=1).to_excel(tmp_path / "prices.xlsx")
    for ticker, close in closes.items():
        found = read_prices(tmp_path / "prices.xlsx", PriceOptions(id=ticker))
        np.testing.assert_allclose(found.table["close"], close)


def test_weeks_of_seven_days_are_said(tmp_path):
    days = pd.date_range("2024-01-01", periods=60)
    text = "date,close\n" + "".join(f"{d:%Y-%m-%d},{100 + d.day}\n" for d in days)
    assert "weeks of seven days" in read(tmp_path, text).notes


@pytest.mark.parametrize(
    ("frequency", "expected"),
    [("MS", "monthly bars; daily"), ("W-FRI", "weekly bars"), ("h", "0 days 01:00:00 apart")],
)
def test_bars_that_are_not_daily_are_refused(tmp_path, frequency, expected):
    times = pd.date_range("2020-01-01", periods=40, freq=frequency)
    text = "date,close\n" + "".join(f"{t},{100 + i}\n" for i, t in enumerate(times))
    assert expected in refused(tmp_path, text)


def test_only_used_columns_are_looked_at(tmp_path):
    text = "Date,Open,Close,Adj Close,Note\n2024-01-02,0,,10.1,x\n2024-01-03,-,10.2,10.2,\n"
    found = read(tmp_path, text)
    assert list(found.table["close"]) == [10.1, 10.2]
    assert "'Close', data row 1: is empty" in refused(tmp_path, text, close="close")


def test_a_volume_of_zero_is_no_trade_only_where_the_price_stood_still(tmp_path):
    rows = ["2024-01-02,10.0,0", "2024-01-03,10.1,0", "2024-01-04,10.1,0", "2024-01-05,10.3,5"]
    found = read(tmp_path, "\n".join(["Date,Close,Volume", *rows]))
    assert list(found.table["close"]) == [10.0, 10.1, 10.3]
    assert "1 days without trade left out" in found.notes


def test_weekends_that_repeat_friday_are_no_days_of_trade(tmp_path):
    days = pd.date_range(DATES[0], DATES[-1])
    filled = pd.Series(CLOSE, DATES).reindex(days, method="ffill")
    found = read(tmp_path, filled.rename("Close").rename_axis("Date").to_csv())
    assert pd.DatetimeIndex(found.table["date"]).equals(DATES)
    assert f"{len(days) - DAYS} days without trade left out" in found.notes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the file is empty"),
        ("Date,Close\n2024-01-02,\n2024-01-03,\n", "column 'Close': no day has a price"),
        ("Date,A,B\n2024-01-02,1,2\n2024-01-03,2,3\n", "no column 'close'; there are Date, A, B"),
        ("Date,Volume\n2024-01-02,1\n2024-01-03,2\n", "no column 'close'; there are Date, Volume"),
        ("Date,Close\n2024-01-02,5\n2024-01-03,-37\n", "data row 2: -37 is not above 0"),
        ("Date,Close\n2024-01-02,5\nAverage,5\n", "data row 2: 'Average' is not a time"),
    ],
)
def test_prices_that_cannot_be_read(tmp_path, text, expected):
    assert expected in refused(tmp_path, text)


def walk(factor: float, day: int = 150, spread: float = 0.01) -> tuple[str, pd.DataFrame]:
    """A random walk of 300 days, from one day on divided by a factor."""
    rng = np.random.default_rng(int(factor * 7) + day)
    close = 100 * np.exp(np.cumsum(spread * rng.standard_normal(300)))
    table = pd.DataFrame({"date": pd.bdate_range("2020-01-01", periods=300), "close": close})
    split = table.assign(close=close / np.where(np.arange(300) < day, 1.0, factor))
    return split.to_csv(index=False), table


@pytest.mark.parametrize(
    "factor", [2, 3, 4, 7, 8, 10, 20, 50, 100, 1000, 1.5, 0.5, 0.25, 0.125, 0.1, 0.05, 0.01]
)
@pytest.mark.parametrize("spread", [0.003, 0.01, 0.02])
def test_a_split_is_named_refused_or_adjusted(tmp_path, factor, spread):
    text, table = walk(factor, spread=spread)
    message = refused(tmp_path, text)
    assert f"on {table['date'][150]:%Y-%m-%d}" in message
    words = f"{factor:g}:1" if factor > 1 else f"1:{1 / factor:g}"
    assert f"unadjusted split {words}; set data.splits=adjust" in message
    adjusted = read(tmp_path, text, splits="adjust").table["close"]
    returns = np.diff(np.log(table["close"]))
    np.testing.assert_allclose(np.diff(np.log(adjusted)), returns, atol=1e-9)
    kept = read(tmp_path, text, splits="keep")
    assert any("looks like an unadjusted split" in note for note in kept.notes)
    assert np.abs(np.diff(np.log(kept.table["close"]))).max() > 0.3


@pytest.mark.parametrize("factor", [13, 113.0, 1e6, 1 / 13])
def test_a_jump_that_no_price_makes_is_named_without_a_simple_ratio(tmp_path, factor):
    text, table = walk(factor)
    assert f"on {table['date'][150]:%Y-%m-%d}, which looks like" in refused(tmp_path, text)


@pytest.mark.parametrize("seed", range(5))
def test_crashes_and_wild_prices_are_no_splits(tmp_path, seed):
    rng = np.random.default_rng(seed)
    wild = 100 * np.exp(np.cumsum(0.15 * rng.standard_t(4, 300)))
    crash = 100 * np.exp(np.cumsum(np.where(np.arange(300) == 99, -0.23, 0.01) * 1.0))
    for close in (wild, crash):
        dates = pd.bdate_range("2020-01-01", periods=300)
        text = pd.DataFrame({"date": dates, "close": close}).to_csv(index=False)
        assert not [note for note in read(tmp_path, text).notes if "split" in note]


def test_a_decimal_comma_of_the_training_file_is_kept_for_the_next(tmp_path):
    first = read(tmp_path, "date;close\n2024-01-02;1.234,50\n2024-01-03;1.235,00\n")
    again = read(tmp_path, "date;close\n2024-01-04;1,236\n", reading=first.options.reading)
    assert list(again.table["close"]) == [1.236]
    assert "set data.decimal=comma or data.decimal=point" in refused(
        tmp_path, "date;close\n2024-01-04;1,236\n"
    )
    point = read(tmp_path, "date;close\n2024-01-04;1,236\n", reading=Reading(decimal="point"))
    assert list(point.table["close"]) == [1236.0]
