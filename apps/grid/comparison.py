"""The comparison of one application: its runs, its data, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from apps.base.application import DataModule, Evaluation
from apps.cli.compose import compose_run
from apps.grid.checks import check
from apps.grid.overrides import GridOverrides, first_point, for_app, read_grid
from apps.grid.plan import Planned, plan, read_seeds, read_tuned
from apps.grid.results import as_results, as_run
from apps.report.model.formatting import listing
from apps.report.model.grids import Comparison, Grid
from apps.report.model.results import Results
from apps.run import baseline_scores as scoring
from apps.run.experiment import Experiment
from apps.run.folder import RunFolder

# What of a configuration the data depend on, and so the baselines.
_OF_DATA = ("app", "data", "split")


@dataclass(frozen=True, slots=True)
class PlannedGrid:
    """A grid and its runs."""

    grid: GridOverrides
    runs: list[Planned]
    tuned: list[str]
    overrides: list[str]

    def made(self, metrics: Mapping[Path, Mapping[str, Any]], root: Path) -> Grid:
        """The report's record of the grid, from the metrics of its runs by their folders."""
        axes = {key: [choice.value for choice in c] for key, c in self.grid.axes.items()}
        runs = [as_run(planned, metrics[planned.path], root) for planned in self.runs]
        return Grid(runs, axes, self.tuned, self.overrides)


@dataclass(frozen=True, slots=True)
class Comparing:
    """What a comparison of one application consists of."""

    config: DictConfig
    folder: Path
    arguments: Sequence[str]
    experiment: Experiment
    main: PlannedGrid
    sweep: PlannedGrid | None

    @property
    def planned(self) -> list[Planned]:
        """The runs of all grids."""
        return [*self.main.runs, *(self.sweep.runs if self.sweep else [])]

    @property
    def shares_data(self) -> bool:
        """Whether all runs of the comparison have the same data, and so the same baselines."""
        return not self._differing

    @property
    def notes(self) -> list[str]:
        """What has to be said of the data: which they are, and where there are no baselines."""
        account = self.experiment.data.account.sentence
        if self.shares_data:
            return [account]
        differing = f"the runs differ in {listing(self._differing)}, on which they depend"
        return [f"Of the first runs: {account}", f"No baselines: {differing}."]

    @property
    def _differing(self) -> list[str]:
        """What of `_OF_DATA` is not the same for all runs of the comparison."""
        first, *others = [_data(run.config) for run in self.main.runs]
        return [
            key
            for key, value, *rest in zip(_OF_DATA, first, *others, strict=True)
            if any(other != value for other in rest)
        ]

    def results(
        self,
        metrics: Mapping[Path, Mapping[str, Any]],
        baselines: Mapping[str, Evaluation],
    ) -> Results:
        """The report's record of the comparison."""
        sweep = self.sweep.made(metrics, self.folder) if self.sweep else None
        return as_results(
            self.config,
            self.experiment.application,
            self.main.made(metrics, self.folder),
            sweep,
            baselines,
            self.arguments,
            self.notes,
        )

    def data_of(self, compared: Comparison) -> DataModule:
        """The data that the runs of a comparison were trained on."""
        path = self.folder / compared.runs[0].run_dir
        config = next(run.config for run in self.planned if run.path == path)
        if _data(config) == _data(self.main.runs[0].config):
            return self.experiment.data
        return Experiment(config).data


def prepare(arguments: Sequence[str], app: str, folder: Path, *, here: bool) -> Comparing:
    """Plan and check the comparison of an application; UserError if it cannot work."""
    overrides = for_app(arguments, app)
    config = compose_run(app, first_point(overrides), "compare")
    default = config.choices.get("clipping")
    grid = read_grid(overrides, default)
    tuned = read_tuned(config.tune, grid.axes)
    runs = plan(app, grid, read_seeds(config.seeds), tuned, folder / "runs")
    main = PlannedGrid(grid, runs, tuned, [])
    sweep = None
    if config.get("sweep") is not None:
        own = list(config.sweep.overrides)
        swept = read_grid([*overrides, *own], default)
        runs = plan(app, swept, read_seeds(config.sweep.seeds), [], folder / "sweep")
        fixed = [override for override in own if override in swept.shared]
        sweep = PlannedGrid(swept, runs, [], fixed)
    first = Experiment(main.runs[0].config)
    first.check()
    comparing = Comparing(config, folder, arguments, first, main, sweep)
    check(comparing.planned, first.description, here=here)
    return comparing


def score_baselines(comparing: Comparing) -> dict[str, Evaluation]:
    """The scores of the baselines; none where the runs do not share their data."""
    if not comparing.shares_data:
        return {}
    return scoring.score_baselines(comparing.experiment, comparing.folder / "baselines")


def predictions(compared: Comparison, root: Path) -> dict[str, dict[int, Any]]:
    """Predictions of every finished run, by strategy and seed."""
    found: dict[str, dict[int, Any]] = {}
    for run in compared.runs:
        table = RunFolder(root / run.run_dir).read_predictions()
        if run.status == "completed" and table is not None:
            found.setdefault(run.clipping, {})[run.seed] = table
    return found


def _data(config: DictConfig) -> list[Any]:
    """What of a configuration its data depend on."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    return [plain.get(key) for key in _OF_DATA]
