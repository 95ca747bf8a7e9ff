"""The finance data sets: where they come from, whose they are and how to use them."""

from __future__ import annotations

from dataclasses import dataclass

from data_scripts.manifest import Dataset, Source

GREAT_TABLES = Source(
    file="great_tables-1.1.0-py3-none-any.whl",
    sha256="4e22cd6918d0bb6681d27fca19bb6a73e881b69165e35be303f45cb67824f595",
    mirror=("finance/great_tables-1.1.0-py3-none-any.whl",),
    package="great_tables==1.1.0",
)
# The wheel of one platform, read as an archive: its data are those of all the others.
_ARCH = (
    "arch-8.0.0-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.manylinux_2_28_x86_64.whl"
)
ARCH = Source(
    file=_ARCH,
    sha256="975ec3bdf7926335742ac362251fafe32b448b8f194dead062f22a00beef772d",
    mirror=(f"finance/{_ARCH}",),
    package="arch==8.0.0",
)
SKFOLIO = Source(
    file="skfolio-1.12.2-py3-none-any.whl",
    sha256="2d324c62a4188dc0b62a713f8d5cea177e208a5b45987e3d3f204dd56d3a669b",
    mirror=("finance/skfolio-1.12.2-py3-none-any.whl",),
    package="skfolio==1.12.2",
)


@dataclass(frozen=True)
class Usage:
    """How a converted table is meant to be used: its columns and suggested splits.

    Days before `train_start` give features their history and are no targets.
    """

    columns: dict[str, str]
    splits: dict[str, str]


_PRICE = {
    "date": "trading day",
    "asset": "name",
    "close": "index points, or US dollars adjusted for splits and dividends",
}

DATASETS = {
    "sp500": Dataset(
        name="sp500",
        application="finance",
        sources=(GREAT_TABLES, ARCH),
        licence="MIT (great_tables 1.1.0) and NCSA (arch 8.0.0), of the packages",
        credit="figures: Yahoo Finance",
    ),
    "skfolio": Dataset(
        name="skfolio",
        application="finance",
        sources=(SKFOLIO,),
        licence="BSD-3-Clause (skfolio 1.12.2), of the package",
        credit="figures: Yahoo Finance; companies that survived until 2022 alone",
    ),
}
USAGE = {
    # Highs and lows are of another kind before 1982: none until 1961, far too wide after.
    "sp500": Usage(
        columns=_PRICE | {"high": "empty before 1982-05", "low": "empty before 1982-05"},
        splits={
            "train_start": "1982-06-01",
            "val_start": "2000-01-01",
            "test_start": "2005-01-01",
            "end": "2019-01-01",
        },
    ),
    "skfolio": Usage(
        columns=_PRICE,
        splits={
            "train_start": "1991-01-01",
            "val_start": "2008-01-01",
            "test_start": "2013-01-01",
            "end": "2023-01-01",
        },
    ),
}
