"""Finance data sets: `python -m data_scripts.finance --dataset sp500 --data-dir data`.

sp500    daily S&P 500 index, 1950-2018: closes, and highs and lows from May 1982 on
skfolio  daily prices of 20 US stocks, 1990-2022

Both come as long tables of trading days and assets, out of packages that are read as archives.
"""

from __future__ import annotations

import gzip
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from data_scripts.fetch import read_member
from data_scripts.finance_catalogue import DATASETS, USAGE
from data_scripts.manifest import DataError, Manifest
from data_scripts.prepare import command_line, prepare_folder, write_table

GREAT_TABLES_MEMBER = "great_tables/data/04-sp500.csv"
GREAT_TABLES_SHA256 = "a5dc7650148db1bca456cc8fa106d9c944f45922d8b825146181f7c1cb2876ac"
ARCH_MEMBER = "arch/data/sp500/sp500.csv.gz"
ARCH_SHA256 = "1e028cbb9c400cc018c816ccc439b33c919387e726c3ed5ca2c05c82746059de"
SKFOLIO_MEMBER = "skfolio/datasets/data/sp500_dataset.csv.gz"
SKFOLIO_SHA256 = "ee21cac28befb1d0a739a9ceb22184f995394726aa0cfde9a21941d1ac04ac0d"

RANGES_FROM = pd.Timestamp("1982-05-01")


def prepare(dataset: str, data_dir: Path, mirror: Path | None = None) -> Path:
    """Return `data_dir/finance/<dataset>` holding `data.parquet` and `manifest.json`.

    Raises DataError for an unknown data set and for files that cannot be had or fail their
    checksum.
    """
    if dataset not in DATASETS:
        raise DataError(f"dataset {dataset!r} is unknown; known are {', '.join(DATASETS)}")
    description, usage = DATASETS[dataset], USAGE[dataset]

    def convert(raw: Sequence[Path], folder: Path) -> Manifest:
        table, account = read_sp500(*raw) if dataset == "sp500" else read_skfolio(*raw)
        files = write_table(table, folder)
        details = {"account": account}
        return Manifest(description, files, len(table), usage.columns, usage.splits, details)

    return prepare_folder(description, data_dir, mirror, convert)


def read_sp500(great_tables: Path, arch: Path) -> tuple[pd.DataFrame, str]:
    """Join the two packages' files; a table and one line on what was done.

    great_tables has 1950-2015 (the newest day first), arch 1999-2018; where both have a day
    their closes must agree, or DataError is raised.
    """
    early = pd.read_csv(
        io.BytesIO(read_member(great_tables, GREAT_TABLES_MEMBER, GREAT_TABLES_SHA256)),
        parse_dates=["date"],
    ).set_index("date")
    packed = read_member(arch, ARCH_MEMBER, ARCH_SHA256)
    late = pd.read_csv(io.BytesIO(gzip.decompress(packed)))
    late = late.rename(columns=str.lower).assign(date=pd.to_datetime(late["Date"]))
    late = late.set_index("date")
    shared = early.index.intersection(late.index)
    gap = float((early.loc[shared, "close"] / late.loc[shared, "close"] - 1).abs().max())
    if gap > 1e-6:
        raise DataError(f"sp500: the two sources differ by a share of {gap:.2g} of a close")
    columns = ["close", "high", "low"]
    table = pd.concat([early[columns].sort_index(), late.loc[late.index > early.index.max()]])
    table = table[columns].astype(float)
    table.loc[table.index < RANGES_FROM, ["high", "low"]] = float("nan")
    table = table.rename_axis("date").reset_index()
    table.insert(1, "asset", "S&P 500")
    return table, (
        f"joined from two sources that agree on {len(shared)} shared days; highs and lows before "
        f"{RANGES_FROM:%Y-%m} left out (of another kind)"
    )


def read_skfolio(wheel: Path) -> tuple[pd.DataFrame, str]:
    """Read the closes of 20 stocks; a long table and one line on what was done."""
    packed = read_member(wheel, SKFOLIO_MEMBER, SKFOLIO_SHA256)
    wide = pd.read_csv(io.BytesIO(gzip.decompress(packed)), parse_dates=["Date"])
    table = wide.rename(columns={"Date": "date"}).melt("date", var_name="asset", value_name="close")
    return table, "prices rounded to 0.001 by the source; survivors only"


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints the folder and returns 0, or one line on stderr and 2."""
    return command_line(prepare, DATASETS, arguments)


if __name__ == "__main__":
    sys.exit(main())
