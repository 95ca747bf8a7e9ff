from __future__ import annotations

import gzip
import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_scripts import finance
from data_scripts.manifest import DataError, Manifest, verify

MIRROR = Path(__file__).parents[3] / "shared/data"
JOINED = MIRROR / "finance/sp500_ohlcv_1950_2018.csv.gz"


def test_an_unknown_data_set_names_the_known_ones(tmp_path):
    with pytest.raises(DataError, match="'dax' is unknown; known are sp500, skfolio"):
        finance.prepare("dax", tmp_path)


def wheel(path: Path, member: str, content: bytes) -> tuple[Path, str]:
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(member, content)
    return path, hashlib.sha256(content).hexdigest()


def two_wheels(folder: Path, monkeypatch: pytest.MonkeyPatch, second_close: float) -> list[Path]:
    """Wheels of three days and of the last of them with one more; the first newest first."""
    early = (
        "date,open,high,low,close,volume,adj_close\n"
        "1982-05-03,9,12,8,11,5,11\n1982-04-30,9,11,8,10,5,10\n1982-04-29,9,11,8,9,5,9\n"
    )
    late = (
        "Date,Open,High,Low,Close,Adj Close,Volume\n"
        f"5/3/1982,9,12,8,{second_close},11,5\n5/4/1982,9,13,9,12,12,5\n"
    )
    paths = []
    for name, member, content in (
        ("GREAT_TABLES", finance.GREAT_TABLES_MEMBER, early.encode()),
        ("ARCH", finance.ARCH_MEMBER, gzip.compress(late.encode())),
    ):
        path, digest = wheel(folder / f"{name}.whl", member, content)
        monkeypatch.setattr(finance, f"{name}_SHA256", digest)
        paths.append(path)
    return paths


def test_the_two_sources_are_joined_in_order_of_time(tmp_path, monkeypatch):
    table, account = finance.read_sp500(*two_wheels(tmp_path, monkeypatch, 11.0))
    assert list(table.columns) == ["date", "asset", "close", "high", "low"]
    assert list(table["close"]) == [9.0, 10.0, 11.0, 12.0]
    assert table["date"].is_monotonic_increasing
    # Highs and lows before May 1982 are of another kind.
    assert list(table["high"].isna()) == [True, True, False, False]
    assert "agree on 1 shared days" in account


def test_sources_that_disagree_are_refused(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"sp500: the two sources differ by a share of 0\.0"):
        finance.read_sp500(*two_wheels(tmp_path, monkeypatch, 11.5))


@pytest.mark.slow
@pytest.mark.skipif(not JOINED.is_file(), reason=f"no {JOINED}")
def test_sp500_really_comes_from_pypi(tmp_path):
    folder = finance.prepare("sp500", tmp_path)
    table = pd.read_parquet(folder / "data.parquet").set_index("date")
    expected = pd.read_csv(JOINED, index_col=0, parse_dates=True)
    assert len(table) == 17_361
    np.testing.assert_allclose(table["close"].loc[expected.index], expected["close"])
    late = expected.index[expected.index >= finance.RANGES_FROM]
    np.testing.assert_allclose(
        table.loc[late, ["high", "low"]], expected.loc[late, ["high", "low"]]
    )
    returns = 100 * np.log(table["close"]).diff()
    assert returns.idxmin() == pd.Timestamp("1987-10-19")
    assert returns.min() == pytest.approx(-22.9, abs=0.01)
    assert verify(folder).splits["test_start"] == "2005-01-01"


@pytest.mark.slow
def test_skfolio_really_comes_from_pypi(tmp_path):
    folder = finance.prepare("skfolio", tmp_path)
    table = pd.read_parquet(folder / "data.parquet")
    assert Manifest.read(folder).rows == len(table) == 8_313 * 20
    assert table["asset"].nunique() == 20
    assert (table["close"] > 0).all()


def test_the_packages_are_not_read_as_something_else(tmp_path):
    path, _ = wheel(tmp_path / "a.whl", finance.SKFOLIO_MEMBER, gzip.compress(b"Date,A\n"))
    with pytest.raises(DataError, match=r"SHA-256 of .*sp500_dataset\.csv\.gz is"):
        finance.read_skfolio(path)
    with pytest.raises(DataError, match="cannot be read"):
        finance.read_skfolio(Path(__file__))
