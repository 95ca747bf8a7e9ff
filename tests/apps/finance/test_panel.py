from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from apps.errors import UserError
from apps.finance.panel import make_panel, read_prepared
from apps.finance.sources import Csv
from apps.finance.split import Fixed, WalkForward
from apps.finance.user_file import PriceOptions, read_prices
from data_scripts.manifest import Dataset, Manifest, sha256
from tests.apps.finance.prices import borders, make, price_table


def written(folder: Path, table: pd.DataFrame) -> Path:
    table.to_csv(folder / "mine.csv", index=False)
    return folder / "mine.csv"


def read(folder: Path, table: pd.DataFrame, **options: object) -> tuple[pd.DataFrame, str]:
    prices = read_prices(written(folder, table), PriceOptions(**options))  # type: ignore[arg-type]
    return prices.table, "; ".join(prices.notes)


def test_returns_and_ranges_by_hand():
    dates = pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03"])
    table = pd.DataFrame(
        {
            "date": dates,
            "asset": "A",
            "close": [100.0, 110.0, 99.0],
            "high": [1, 112, 110],
            "low": [1, 100, 95],
        }
    )
    panel = make_panel(table, borders(table), "", "toy")
    np.testing.assert_allclose(panel.returns[1:, 0], 100 * np.log([1.1, 0.9]))
    assert np.isnan(panel.returns[0, 0])
    assert panel.ranges[1, 0] == pytest.approx(1e4 * np.log(1.12) ** 2 / (4 * np.log(2)))
    returns, realised = panel.targets(2)
    assert returns[0, 0] == pytest.approx(100 * np.log(0.99))
    assert realised[0, 0] == pytest.approx((panel.returns[1:] ** 2).sum())
    assert np.isnan(returns[1:]).all()


@pytest.mark.parametrize("horizon", [1, 5, 22])
def test_the_targets_of_a_part_lie_in_it(horizon):
    panel = make()
    for part in ("train", "val", "test"):
        start, end = panel.bounds(part)
        rows = panel.origins(part, horizon)
        assert panel.dates[rows[0] + 1] >= start
        assert panel.dates[rows[-1] + horizon] < end
        assert (np.diff(rows) == 1).all()
    lengths = [len(panel.origins(part, horizon)) for part in ("train", "val", "test")]
    assert sum(lengths) == 1400 - 1 - 3 * (horizon - 1)


def test_days_without_all_assets_are_left_out_and_told():
    tables = [price_table(300, seed).assign(asset=name) for seed, name in enumerate("AB")]
    tables[1] = tables[1].drop(index=[10, 20])
    panel = make_panel(pd.concat(tables), borders(tables[0]), "", "toy")
    assert panel.returns.shape == (298, 2)
    assert "2 days without all assets left out" in panel.account


def test_names_of_columns_may_be_those_of_data_vendors(tmp_path):
    table = price_table(50)
    plain, _ = read(tmp_path, table)
    vendor = table.rename(columns=str.title).assign(**{"Adj Close": table["close"] / 2})
    found, account = read(tmp_path, vendor)
    np.testing.assert_allclose(found["close"], plain["close"] / 2)
    np.testing.assert_allclose(found["high"], plain["high"])
    assert "returns from 'Adj Close'" in account
    chosen, _ = read(tmp_path, vendor, close="Close")
    np.testing.assert_allclose(chosen["close"], plain["close"])


def test_the_time_of_the_day_does_not_matter(tmp_path):
    table = price_table(50)
    plain, _ = read(tmp_path, table)
    offsets = np.where(np.arange(50) < 25, "T00:00:00-05:00", " 23:59:00-04:00")
    found, _ = read(tmp_path, table.assign(date=table["date"].dt.strftime("%Y-%m-%d") + offsets))
    pd.testing.assert_frame_equal(found, plain)


def test_a_close_alone_is_enough(tmp_path):
    found, account = read(tmp_path, price_table(50)[["date", "close"]])
    assert list(found.columns) == ["date", "close"]
    assert account == "returns from 'close'"


def test_days_without_trade_and_gaps_are_told(tmp_path):
    table = price_table(60)
    table.loc[[5, 6], "volume"] = 0
    table.loc[[5, 6], "close"] = table["close"][4]
    table.loc[20, "volume"] = 0  # but the close moved: no volume was recorded
    table = table.drop(index=range(30, 40))
    found, account = read(tmp_path, table)
    assert len(found) == 48
    assert "2 days without trade left out" in account
    assert f"the longest before {table['date'][40]:%Y-%m-%d}" in account
    found, _ = read(tmp_path, table.assign(volume=0))  # an index has no volume
    assert len(found) == 50


FLAWS = [
    (lambda t: t.iloc[[1, 0, *range(2, len(t))]], "rows must be in time order"),
    (lambda t: t.iloc[[0, 1, 1, *range(2, len(t))]], "data row 3: 2015-01-02 00:00:00 is repeated"),
    (lambda t: t.assign(close=t["close"].where(t.index != 4, -3.0)), "row 5: -3 is not above 0"),
    (
        lambda t: t.assign(low=t["low"].where(t.index != 4, 0.0)),
        "'low', data row 5: 0 is not above",
    ),
    (lambda t: t.assign(close=t["close"].where(t.index != 4)), "'close', data row 5: is empty"),
    (lambda t: t.assign(high=t["low"], low=t["high"]), "the high is below the low"),
    (lambda t: t.assign(date="soon"), "'soon' is not a time such as 2024-01-31"),
    (lambda t: t.drop(columns="close"), "no column 'close'; there are date, open"),
    (lambda t: t.assign(close="dear"), "'dear' is not a finite number"),
    (lambda t: t.iloc[:0], "a header but no rows"),
]


@pytest.mark.parametrize(("spoil", "expected"), FLAWS)
def test_flaws_of_a_file_are_one_clear_line(tmp_path, spoil, expected):
    with pytest.raises(UserError) as caught:
        read(tmp_path, spoil(price_table(50)))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_constant_and_too_few_prices(tmp_path):
    with pytest.raises(UserError, match="the close never changes"):
        Csv(str(written(tmp_path, price_table(50).assign(close=9.0, high=9.0, low=9.0)))).read()
    with pytest.raises(UserError, match="1 rows of prices give no return"):
        Csv(str(written(tmp_path, price_table(50).iloc[:1]))).read()
    with pytest.raises(ValueError, match="both must be above"):
        Csv("mine.csv", val_fraction=0.5, test_fraction=0.4)


def test_a_file_is_split_by_shares_of_its_days(tmp_path):
    panel = Csv(
        str(written(tmp_path, price_table(1000))), val_fraction=0.1, test_fraction=0.3
    ).read()
    assert [len(panel.origins(p, 1)) for p in ("train", "val", "test")] == [599, 100, 300]


def test_fixed_and_walk_forward_splits():
    panel = make(days=2000)
    moved = Fixed(test_start="2020-06-03").apply(panel)
    assert (moved.val_start, moved.test_start) == (panel.val_start, pd.Timestamp("2020-06-03"))
    ends = []
    for block in (0, 1):
        walked = WalkForward(block, years=1, val_years=1).apply(panel)
        assert walked.val_start == walked.test_start - pd.DateOffset(years=1)
        ends.append((walked.test_start, walked.end))
    assert ends[0] == (panel.test_start, panel.test_start + pd.DateOffset(years=1))
    assert ends[1] == (ends[0][1], panel.end)
    whole = WalkForward(years=1, val_years=1)
    assert whole.starts(panel) == [start for start, _ in ends]
    walked = whole.apply(panel)
    assert (walked.test_start, walked.end) == (panel.test_start, panel.end)
    assert WalkForward(0).starts(panel) == Fixed().starts(panel) == [panel.test_start]
    short = panel.with_splits(end=panel.test_start + pd.DateOffset(months=16))
    assert whole.starts(short) == [panel.test_start], "a short rest joins the last block"
    with pytest.raises(UserError, match=r"split\.block=9: there are 2 blocks of 1 years"):
        WalkForward(9, years=1, val_years=1).apply(panel)
    with pytest.raises(UserError, match="must start in this order"):
        Fixed(val_start="2030-01-01").apply(panel)
    with pytest.raises(ValueError, match="test_start must be a date"):
        Fixed(test_start="soon")


def test_a_prepared_folder(tmp_path):
    table = price_table(300).assign(asset="A")[["date", "asset", "close"]]
    table.to_parquet(tmp_path / "data.parquet")
    splits = {name: f"{day:%Y-%m-%d}" for name, day in borders(table).items()}
    files = {"data.parquet": sha256(tmp_path / "data.parquet")}
    dataset = Dataset("toy", "finance", (), "CC0", "nobody")
    Manifest(dataset, files, 300, {}, splits, {"account": "made up"}).write(tmp_path)
    panel = read_prepared(tmp_path)
    assert (panel.assets, panel.account) == (("A",), "made up")
    assert np.isnan(panel.ranges).all()
    with pytest.raises(UserError, match="run gradclip-data app=finance"):
        read_prepared(tmp_path / "absent")
