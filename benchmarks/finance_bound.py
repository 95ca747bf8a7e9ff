"""From which variance does the network of finance start, and how far may it move it?

    python -m benchmarks.finance_bound --base har_gjr combined

Trains with each base and bound on rolling origins: three years of test, three of validation before
them, all earlier days for training. All of these years lie before the test years of the series' own
split, so that the choice has seen none of those. Prints a line for each, and the means.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from arch.data import nasdaq, wti
from hydra import initialize_config_dir

from apps import CONF
from apps.cli.compose import compose_run
from apps.finance.application import Finance
from apps.finance.backtests import qlike
from apps.finance.data import PanelData
from apps.run.experiment import Experiment
from apps.run.training import train

BASES = ("har_gjr", "combined")
BOUNDS = (0.1, 0.2, 0.3, 0.5)
# First years of the rolling tests, all before that of the series' own split.
ORIGINS = {"sp500": (1992, 1995, 1998, 2001), "nasdaq": (2006, 2009, 2012), "wti": (1997, 2004)}
YEARS = 3


def main() -> None:
    """Train on every series, origin, bound and seed, and print what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--series", nargs="+", choices=ORIGINS, default=list(ORIGINS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--horizon", type=int, default=1)
    parser.add_argument("--base", nargs="+", choices=BASES, default=list(BASES))
    parser.add_argument("--bound", nargs="+", type=float, default=list(BOUNDS))
    arguments = parser.parse_args()
    means: defaultdict[str, list[float]] = defaultdict(list)
    changes = [
        [f"app.base={base}", f"app.bound={bound}"]
        for base in arguments.base
        for bound in arguments.bound
    ]
    with (
        tempfile.TemporaryDirectory() as name,
        initialize_config_dir(str(CONF), version_base="1.3"),
    ):
        for series in arguments.series:
            source = series_source(series, Path(name))
            for year in ORIGINS[series]:
                settings = [*source, *_split(year), f"app.horizon={arguments.horizon}"]
                start = _start(_experiment([*settings, "app.base=har_gjr"]))
                losses = _losses(settings, changes, arguments.seeds, Path(name))
                gains = {change: loss - start for change, loss in losses}
                for change, gain in gains.items():
                    means[change].append(gain)
                print(f"{series} {year}", *(f"{k} {v:+.4f}" for k, v in gains.items()), flush=True)
    print("mean", *(f"{change} {np.mean(found):+.4f}" for change, found in means.items()))


def series_source(series: str, folder: Path) -> list[str]:
    """The overrides that name a series; those of the package `arch` are written as files."""
    if series == "sp500":
        return ["data=sp500"]
    if series == "nasdaq":
        table = nasdaq.load()[["High", "Low", "Close"]]
    else:
        table = pd.DataFrame({"Close": wti.load()["DCOILWTICO"].dropna()})
    table.rename_axis("date").to_csv(folder / f"{series}.csv")
    return prices(folder / f"{series}.csv")


def prices(path: Path) -> list[str]:
    """The overrides that name a file of prices, whose jumps are returns.

    A third in a day is how oil fell in January 1991, and no split.
    """
    return ["data=csv", f"data.path={path}", "data.splits=keep"]


def _split(year: int) -> list[str]:
    borders = {"val_start": year - YEARS, "test_start": year, "end": year + YEARS}
    return [f"split.{name}={start}-01-01" for name, start in borders.items()]


def _losses(
    settings: list[str], changes: list[list[str]], seeds: int, folder: Path
) -> Iterator[tuple[str, float]]:
    """QLIKE on the test days with each change, the mean of the seeds."""
    for change in changes:
        found = []
        for seed in range(seeds):
            experiment = _experiment([*settings, *change, f"seed={seed}"])
            with tempfile.TemporaryDirectory(dir=folder) as run:
                found.append(train(experiment, Path(run) / "run", quiet=True)["test"]["qlike"])
        yield " ".join(key.partition("=")[2] for key in change), float(np.mean(found))


def _experiment(settings: list[str]) -> Experiment:
    fixed = ["app=finance", "model=har_gjr_residual", "clipping=none", "logger=none"]
    return Experiment(compose_run("finance", [*fixed, *settings]))


def _start(experiment: Experiment) -> float:
    """QLIKE on the test days of the variance that the network starts from."""
    data, application = experiment.data, experiment.application
    assert isinstance(data, PanelData)
    assert isinstance(application, Finance)
    rows = data.origins("test")
    realised = data.panel.targets(application.horizon)[1][rows]
    return float(qlike(data.encoding.base(data.panel)[rows], realised).mean())


if __name__ == "__main__":
    main()
