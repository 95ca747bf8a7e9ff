"""Finance: what it brings to the shared verbs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from torch import nn

from apps.base.application import Application, Evaluation
from apps.base.task import Optimization, Task
from apps.finance.accuracy_tests import accuracy_tests
from apps.finance.baselines import BASELINES, Plan, anniversaries, forecast_baselines, make_plan
from apps.finance.choices import Base, Horizon, Partner, check_counts, check_one_of
from apps.finance.crash import explain
from apps.finance.crash_figure import training_figures
from apps.finance.data import Indices, PanelData, make_windows
from apps.finance.features import Encoding, Features
from apps.finance.figures import figures
from apps.finance.forecast import Forecast, concatenate
from apps.finance.heads import VARIANCE_LOSSES, Head, Loss, Mean, Output
from apps.finance.metrics import METRICS, evaluate
from apps.finance.predict import options_of, read_user_file, risk_table
from apps.finance.recalibration import LEAST, average, recalibrate
from apps.finance.sources import Source
from apps.finance.split import Split, WalkForward
from apps.finance.task import VolatilityTask, forecast
from apps.report.charts.theme import Figure
from apps.report.model.step_records import Records
from apps.report.model.tables import NamedTable

UNFILTERED = "historical_simulation"  # has no variance of its own to filter by
_BASES = {
    "har_gjr": "the mean variance of HAR and GJR-GARCH-t",
    "combined": "the variances of HAR, GJR-GARCH-t and RiskMetrics, each weighted by how well it "
    "has forecast of late",
}


class Finance(Application):
    """Volatility, value at risk and expected shortfall of daily returns.

    The arguments are documented in `conf/app/finance.yaml`.
    """

    title = "Financial risk"
    metric = "qlike"
    metrics = METRICS

    def __init__(
        self,
        name: str,
        features: Features,
        split: Split,
        loss: Loss = "student_t",
        output: Output = "residual",
        base: Base = "moving_average",
        bound: float | None = None,
        mean: Mean = "zero",
        horizon: Horizon = 1,
        batch_size: int = 128,
        samples_per_epoch: int = 6400,
        recalibration_days: int = 500,
        average_with: Partner | None = None,
        refit_years: int | None = None,
    ) -> None:
        super().__init__(name)
        check_one_of("loss", loss, get_args(Loss))
        check_one_of("output", output, get_args(Output))
        check_one_of("base", base, get_args(Base))
        check_one_of("mean", mean, get_args(Mean))
        if bound is not None and not bound > 0:
            raise ValueError(f"bound must be null or > 0, got {bound}")
        if bound is not None and output == "softplus":
            raise ValueError(f"bound={bound}: output=softplus has no base to stay near; take null")
        if mean == "learnt" and loss in VARIANCE_LOSSES:
            raise ValueError(f"mean=learnt: loss={loss} trains no mean; take student_t")
        check_one_of("horizon", horizon, get_args(Horizon))
        check_one_of("average_with", average_with, (None, *get_args(Partner)))
        check_counts(batch_size, samples_per_epoch, recalibration_days, refit_years)
        self.base: Base = base
        self.bound = bound
        self.features = features
        self.split = split
        self.loss: Loss = loss
        self.output: Output = output
        self.mean: Mean = mean
        self.horizon = int(horizon)
        self.batch_size = batch_size
        self.samples_per_epoch = samples_per_epoch
        self.recalibration_days = recalibration_days
        self.average_with = average_with
        self.refit_years = refit_years

    def datamodule(self, source: Source, seed: int) -> PanelData:
        """The returns of a source, cut into windows."""
        return PanelData(
            source,
            self.split,
            self.features,
            horizon=self.horizon,
            batch_size=self.batch_size,
            samples_per_epoch=self.samples_per_epoch,
            seed=seed,
            base=self.base,
            refit_years=self._refit_years,
        )

    def sizes(self, description: Mapping[str, Any]) -> dict[str, int]:
        """Numbers of features, days and outputs."""
        encoding = Encoding.from_dict(description)
        return {
            "num_features": len(encoding.names),
            "lookback": encoding.features.lookback,
            "num_outputs": self._head.num_outputs,
        }

    def task(
        self, net: nn.Module, description: Mapping[str, Any], optimization: Optimization
    ) -> Task:
        """Wrap a network with the loss."""
        encoding = Encoding.from_dict(description)
        typical = encoding.horizon * encoding.variance
        return VolatilityTask(net, optimization, self._head, typical)

    @property
    def _head(self) -> Head:
        # The longer the horizon, the fewer there are to learn a correction from.
        bound = None if self.bound is None else self.bound / math.sqrt(self.horizon)
        return Head(self.loss, self.output, self.mean, bound)

    def folds(self, data: PanelData) -> Sequence[Mapping[str, Any]]:
        """The blocks of a walk-forward test."""
        more = data.block_rows()
        return [{"app.split.block": block} for block in range(len(more) + 1)] if more else []

    def evaluate(self, task: Task, data: PanelData) -> Evaluation:
        """Forecast every test day and score; days before serve the recalibration alone."""
        return self.evaluate_folds([task], [data], data)

    def evaluate_folds(
        self, tasks: Sequence[Task], folds: Sequence[PanelData], data: PanelData
    ) -> Evaluation:
        """Forecast each block by its own network, then recalibrate and score all as one.

        The days before the first block are forecast by its network, too.
        """
        rows = self._rows(data)
        cuts = np.searchsorted(rows, [fold.origins("test")[0] for fold in folds[1:]])
        parts = []
        for task, fold, block in zip(tasks, folds, np.split(rows, cuts), strict=True):
            assert isinstance(task, VolatilityTask)
            parts.append(forecast(task, fold.encoding, fold.panel, fold.windows(block), block))
        made = concatenate(parts)
        if self.average_with is not None:
            made = average(made, BASELINES[self.average_with](data.panel, self._plan(data)))
        return self._score(made, data, self.recalibration_days)

    def baselines(self, data: PanelData) -> Iterator[tuple[str, Evaluation]]:
        """Moving averages, GARCH models and HAR, recalibrated in the same way."""
        for name, made in forecast_baselines(data.panel, self._plan(data)):
            yield (
                name,
                self._score(made, data, 0 if name == UNFILTERED else self.recalibration_days),
            )

    def _rows(self, data: PanelData) -> Indices:
        """The test days, and before them those of the recalibration."""
        test, first = data.origins("test"), data.origins("val")[0]
        before = self.recalibration_days + self.horizon if self.recalibration_days else 0
        return np.arange(max(first, test[0] - before), test[-1] + 1)

    def _plan(self, data: PanelData) -> Plan:
        """Where the baselines are fitted anew: every so many years, or with the network."""
        rows, blocks = self._rows(data), data.block_rows()
        with_network = self.refit_years is None and len(blocks) > 0
        starts = blocks if with_network else anniversaries(data.panel, rows, self._refit_years)
        return make_plan(data.panel, rows, self.horizon, starts)

    @property
    def _refit_years(self) -> int:
        return self.split.refit_years if self.refit_years is None else self.refit_years

    def _score(self, made: Forecast, data: PanelData, days: int) -> Evaluation:
        first = data.panel.dates[data.origins("test")[0]]
        raw = evaluate(made.between(first, data.panel.end), self.horizon)
        test = recalibrate(made, days).between(first, data.panel.end)
        scores = evaluate(test, self.horizon)
        scores |= {f"{name}_raw": raw[name] for name in ("fz_1", "log_score", "hits_1")}
        return Evaluation(scores, test.to_frame())

    def predict(
        self, task: Task, description: Mapping[str, Any], source: Path
    ) -> tuple[pd.DataFrame, str]:
        """Volatility, value at risk and shortfall after the last day of a CSV file."""
        assert isinstance(task, VolatilityTask)
        encoding = Encoding.from_dict(description)
        panel = read_user_file(source, encoding, options_of(description))
        last = len(panel.dates) - 1
        wanted = self.recalibration_days + self.horizon if self.recalibration_days else 0
        rows = np.arange(max(encoding.history, last - wanted), last + 1)
        rows = rows[encoding.is_known(panel)[rows]]
        windows = make_windows(panel, encoding, rows)
        made = forecast(task, encoding, panel, windows, rows)
        if self.average_with is not None:
            starts = anniversaries(panel, rows, self._refit_years)
            plan = make_plan(panel, rows, self.horizon, starts)
            made = average(made, BASELINES[self.average_with](panel, plan))
        known = int(made.dates.notna().sum())
        table = risk_table(recalibrate(made, self.recalibration_days), self.horizon)
        return table, f"{panel.account}; {self._account(known)}"

    def _account(self, known: int) -> str:
        if self.recalibration_days == 0:
            return "not recalibrated, as the run was trained"
        if known < LEAST:
            return f"not recalibrated: that needs {LEAST - known} more days of history"
        return f"recalibrated on {min(known, self.recalibration_days)} forecasts before"

    def figures(self, data: PanelData, predictions: Mapping[str, pd.DataFrame]) -> Sequence[Figure]:
        """Volatility through crises, VaR and its breaches, PIT, Diebold-Mariano tests."""
        forecasts = {name: Forecast.from_frame(frame) for name, frame in predictions.items()}
        return figures(forecasts, self.horizon)

    def seed_tables(
        self,
        predictions: Mapping[str, Mapping[int, pd.DataFrame]],
        baselines: Mapping[str, pd.DataFrame],
    ) -> Sequence[NamedTable]:
        """Diebold-Mariano tests of every seed against every baseline."""
        return accuracy_tests(
            {
                name: {seed: Forecast.from_frame(frame) for seed, frame in seeds.items()}
                for name, seeds in predictions.items()
            },
            {name: Forecast.from_frame(frame) for name, frame in baselines.items()},
            self.horizon,
        )

    def training_figures(self, data: PanelData, records: Records) -> Sequence[Figure]:
        """The days whose batches were clipped most."""
        return training_figures(data, records)

    def explain(self, data: PanelData, steps: pd.DataFrame, diverged_at: int) -> str | None:
        """The step, the batch and the day after which the forecast collapsed."""
        return explain(data, steps, diverged_at)

    @property
    def notes(self) -> list[str]:
        """What a reader of the scores must know."""
        notes = [
            "Returns are close to unpredictable: direction and R2 are there to show it; the "
            "baselines' direction is always up. What can be forecast is their spread."
            + (" The network's mean is zero (app.mean)." if self.mean == "zero" else ""),
            self._schedule,
        ]
        if self.recalibration_days:
            notes += [
                f"VaR and shortfall of every row but {UNFILTERED} come from its own standardised "
                f"errors over the {self.recalibration_days} days before (filtered historical "
                f"simulation; with fewer than {LEAST} days before there is none); columns named "
                "raw are without."
            ]
        if self.base != "moving_average":
            notes += [f"The network corrects {_BASES[self.base]}."]
        if self.average_with:
            notes += [f"The network's variance is averaged with that of {self.average_with}."]
        return notes

    @property
    def _schedule(self) -> str:
        """Who is trained when, in a sentence."""
        walks = isinstance(self.split, WalkForward) and self.split.block is None
        network = (
            "for every block of the test, on the days before its validation" if walks else "once"
        )
        fits = {0: "once", 1: "anew every year"}.get(
            self._refit_years, f"anew every {self._refit_years} years"
        )
        if walks and self.refit_years is None:
            fits = "for the same blocks"
        return (
            f"The network is trained {network}; the baselines are fitted {fits}, on all days "
            "before."
        )
