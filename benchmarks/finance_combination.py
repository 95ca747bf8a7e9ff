"""Which classical variances should be combined, and how fast should their weights change?

    python -m benchmarks.finance_combination [--horizon 5] [FILE.csv ...]

Forecasts with HAR, GJR-GARCH-t and RiskMetrics, fitted anew every 250 days on all days
before, and combines them at each rate and memory. All days lie before the test days of the series'
own split. Prints QLIKE less that of the mean of HAR and GJR-GARCH-t, for each series and on average
(that of several assets counts once). FILE: prices of your own, with the default split.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np
from hydra import initialize_config_dir

from apps import CONF
from apps.cli.compose import compose_run
from apps.finance.backtests import qlike
from apps.finance.combination import combine
from apps.finance.data import PanelData
from apps.finance.garch import garch
from apps.finance.har import har
from apps.finance.moving_average import base_variance
from apps.finance.panel import Floats
from apps.run.experiment import Experiment
from benchmarks.finance_bound import ORIGINS, prices, series_source

RATES, MEMORIES = (0.1, 0.3, 1.0), (0.99, 0.996, 0.999)
MODELS = {"two": 2, "three": 3}
FIRST_FIT, REFIT = 500, 250  # days


def main() -> None:
    """Combine on every series and print what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--horizon", type=int, default=1)
    arguments = parser.parse_args()
    grid = list(itertools.product(MODELS, RATES, MEMORIES))
    print(" " * 16, *(f"{models} {rate:g} {memory:g}" for models, rate, memory in grid), sep="\t")
    found = []
    with (
        tempfile.TemporaryDirectory() as name,
        initialize_config_dir(str(CONF), version_base="1.3"),
    ):
        for series, source in _sources(arguments.files, Path(name)).items():
            variances, realised = _forecasts(source, arguments.horizon)
            mean = _loss(variances[:2].mean(axis=0), realised)
            gains = [
                _combined(variances, realised, arguments.horizon, *setting) - mean
                for setting in grid
            ]
            print(f"{series:16s}", *(f"{gain:+.4f}" for gain in gains), sep="\t", flush=True)
            found.append(gains)
    print(f"{'mean':16s}", *(f"{gain:+.4f}" for gain in np.mean(found, axis=0)), sep="\t")


def _sources(files: list[Path], folder: Path) -> dict[str, list[str]]:
    """The overrides that name each series."""
    own = {path.stem: prices(path.absolute()) for path in files}
    shipped = {name: series_source(name, folder) for name in ORIGINS}
    return shipped | {"skfolio": ["data=skfolio"]} | own


def _forecasts(source: list[str], horizon: int) -> tuple[Floats, Floats]:
    """Variances (3, T, A) and the squared returns (T, A) that followed, on days before the test."""
    data = Experiment(compose_run("finance", ["app=finance", "logger=none", *source])).data
    assert isinstance(data, PanelData)
    panel, end = data.panel, int(data.origins("test")[0])
    first = max(1, int(panel.dates.searchsorted(panel.train_start)))
    starts = list(range(first + FIRST_FIT, end, REFIT))
    variances = np.stack(
        [np.full_like(panel.returns, np.nan)] * 2 + [horizon * base_variance(panel)]
    )
    for begin, until in itertools.pairwise([*starts, end]):
        rows = np.arange(begin, until)
        for asset in range(len(panel.assets)):
            past = panel.returns[:, asset], panel.ranges[:, asset], first, rows, horizon
            variances[0, rows, asset] = har(*past)[1]
            variances[1, rows, asset] = garch(*past, kind="gjr_garch_t")[1]
    known = slice(starts[0], end - horizon)
    return variances[:, known], panel.targets(horizon)[1][known]


def _combined(
    variances: Floats, realised: Floats, horizon: int, models: str, rate: float, memory: float
) -> float:
    combined = combine(variances[: MODELS[models]], realised, horizon, rate, memory)
    return _loss(combined, realised)


def _loss(variance: Floats, realised: Floats) -> float:
    return float(qlike(variance, realised).mean())


if __name__ == "__main__":
    main()
