"""How far may the network of finance move the variance that it starts from?

    python -m benchmarks.finance_bound

Trains with each bound on rolling origins: three years of test, three of validation before them, all
earlier days for training. All of these years lie before the test years of the series' own split, so
that the choice has seen none of those. Prints a line for each, and the means.
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
    arguments = parser.parse_args()
    means: defaultdict[str, list[float]] = defaultdict(list)
    with (
        tempfile.TemporaryDirectory() as name,
        initialize_config_dir(str(CONF), version_base="1.3"),
    ):
        for series in arguments.series:
            source = _source(series, Path(name))
            for year in ORIGINS[series]:
                settings = [*source, *_split(year), f"app.horizon={arguments.horizon}"]
                gains = dict(_gains(settings, arguments.seeds, Path(name)))
                for bound, gain in gains.items():
                    means[bound].append(gain)
                print(f"{series} {year}", *(f"{k} {v:+.4f}" for k, v in gains.items()), flush=True)
    print("mean", *(f"{bound} {np.mean(found):+.4f}" for bound, found in means.items()))


def _source(series: str, folder: Path) -> list[str]:
    """The overrides that name a series; those of the package `arch` are written as files."""
    if series == "sp500":
        return ["data=sp500"]
    if series == "nasdaq":
        table = nasdaq.load()[["High", "Low", "Close"]]
    else:
        table = pd.DataFrame({"Close": wti.load()["DCOILWTICO"].dropna()})
    table.rename_axis("date").to_csv(folder / f"{series}.csv")
    return ["data=csv", f"data.path={folder / series}.csv"]


def _split(year: int) -> list[str]:
    borders = {"val_start": year - YEARS, "test_start": year, "end": year + YEARS}
    return [f"split.{name}={start}-01-01" for name, start in borders.items()]


def _gains(settings: list[str], seeds: int, folder: Path) -> Iterator[tuple[str, float]]:
    """QLIKE on the test days less that of the start, by bound; negative is better."""
    for bound in BOUNDS:
        losses = []
        for seed in range(seeds):
            more = [f"app.bound={bound}", f"seed={seed}", "clipping=none", "logger=none"]
            experiment = Experiment(
                compose_run("finance", ["app=finance", "model=har_gjr_residual", *settings, *more])
            )
            with tempfile.TemporaryDirectory(dir=folder) as run:
                losses.append(train(experiment, Path(run) / "run", quiet=True)["test"]["qlike"])
        yield f"{bound:g}", float(np.mean(losses)) - _start(experiment)


def _start(experiment: Experiment) -> float:
    """QLIKE of the variance that the network starts from."""
    data, application = experiment.data, experiment.application
    assert isinstance(data, PanelData)
    assert isinstance(application, Finance)
    rows = data.origins("test")
    realised = data.panel.targets(application.horizon)[1][rows]
    return float(qlike(data.encoding.base(data.panel)[rows], realised).mean())


if __name__ == "__main__":
    main()
