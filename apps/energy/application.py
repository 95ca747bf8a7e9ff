"""Energy demand: what it brings to the shared verbs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pandas as pd
from torch import nn

from apps.base.application import Application, Evaluation
from apps.base.task import Optimization, Task
from apps.energy.baselines import forecast_baselines
from apps.energy.closed_form import begin_as_ridge
from apps.energy.data import SeriesData
from apps.energy.encoding import Features
from apps.energy.figures import figures
from apps.energy.forecast import Forecast
from apps.energy.forecasting import choose_share, forecast_origins
from apps.energy.metrics import evaluate
from apps.energy.recalibration import LEAST, recalibrate
from apps.energy.regression_encoding import (
    RegressionFeatures,
    read_encoding,
)
from apps.energy.ridge_residual import RidgeResidual
from apps.energy.sources import Source
from apps.energy.task import ForecastTask, Loss
from apps.energy.user_file import options_of, read_user_file
from apps.report.charts.theme import Figure
from apps.report.model.results import Metric


class Energy(Application):
    """Day-ahead probabilistic forecasts of electricity demand.

    The arguments are documented in `conf/app/energy.yaml`.
    """

    title = "Energy demand, day ahead"
    metric = "wql"
    metrics = (
        Metric("wql", "wQL", "%", "min", 2),
        Metric("mape", "MAPE", "%", "min", 2),
        Metric("wape", "WAPE", "%", "min", 2),
        Metric("mase", "MASE", "", "min", 3),
        Metric("mae", "MAE", "", "min", 4),
        Metric("rmse", "RMSE", "", "min", 4),
        Metric("pinball", "Pinball", "", "min", 4),
        Metric("coverage_80", "80 % covers", "%", "target", 1, 80.0),
        Metric("wql_raw", "raw wQL", "%", "min", 2),
        Metric("coverage_80_raw", "raw covers", "%", "target", 1, 80.0),
    )

    def __init__(
        self,
        name: str,
        features: Features | RegressionFeatures,
        loss: Loss = "pinball",
        batch_size: int = 32,
        samples_per_epoch: int = 3200,
        horizon: int | None = None,
        recalibration_days: int = 14,
    ) -> None:
        super().__init__(name)
        if loss not in get_args(Loss):
            raise ValueError(f"loss must be one of {', '.join(get_args(Loss))}, got {loss!r}")
        if min(batch_size, samples_per_epoch) < 1:
            raise ValueError(
                f"batch_size={batch_size}, samples_per_epoch={samples_per_epoch}: both must be >= 1"
            )
        if horizon is not None and horizon < 1:
            raise ValueError(f"horizon must be >= 1 or null, got {horizon}")
        if recalibration_days < 0 or (loss == "mse" and recalibration_days == 0):
            raise ValueError(
                f"recalibration_days must be >= 0, and > 0 with loss=mse, whose spread comes from "
                f"it alone; got {recalibration_days}"
            )
        self.features = features
        self.loss: Loss = loss
        self.batch_size = batch_size
        self.samples_per_epoch = samples_per_epoch
        self.horizon = horizon
        self.recalibration_days = recalibration_days

    def datamodule(self, source: Source, seed: int) -> SeriesData:
        """The series of a source, cut into windows."""
        return SeriesData(
            source,
            self.features,
            batch_size=self.batch_size,
            samples_per_epoch=self.samples_per_epoch,
            seed=seed,
            horizon=self.horizon,
        )

    def sizes(self, description: Mapping[str, Any]) -> dict[str, int]:
        """Numbers of inputs, steps and quantiles."""
        encoding = read_encoding(description)
        past, future = encoding.widths
        return {
            "past_size": past,
            "future_size": future,
            "lookback": encoding.lookback,
            "horizon": encoding.horizon,
            "num_quantiles": len(encoding.levels),
        }

    def task(
        self, net: nn.Module, description: Mapping[str, Any], optimization: Optimization
    ) -> Task:
        """Wrap a network with the loss."""
        levels = read_encoding(description).levels
        return ForecastTask(net, optimization, levels, self.loss)

    def start(self, task: Task, data: SeriesData) -> None:
        """Fit the regression that a network begins as."""
        if isinstance(task.net, RidgeResidual):
            begin_as_ridge(task.net, data)

    def evaluate(self, task: Task, data: SeriesData) -> Evaluation:
        """Forecast every test day and score.

        Validation days serve the recalibration, and a network that began as a ridge to choose
        its share in the forecast. On test days that ridge has seen validation days, too, as the
        baselines have.
        """
        encoding, parts = data.encoding, (data.inputs, data.series)
        share = choose_share(task, encoding, *parts, data.origins("val"))
        fitted: dict[str, Any] = {} if share is None else {"share": share}
        encoding = replace(encoding, **fitted)
        origins = data.origins("val").append(data.origins("test"))
        evaluation = self.score(forecast_origins(task, encoding, *parts, origins), data)
        return replace(evaluation, fitted=fitted)

    def baselines(self, data: SeriesData) -> Iterator[tuple[str, Evaluation]]:
        """Naive, ridge and boosted trees, recalibrated in the same way."""
        encoding = data.encoding
        for name, forecast in forecast_baselines(data.series, encoding.levels, encoding.horizon):
            yield name, self.score(forecast, data)

    def score(self, forecast: Forecast, data: SeriesData) -> Evaluation:
        """Recalibrate forecasts of validation and test days, and score those of test days."""
        bounds = data.series.bounds("test")
        scale = data.encoding.mase_scale
        raw = evaluate(forecast.between(*bounds), scale)
        test = recalibrate(forecast, self.recalibration_days).between(*bounds)
        scores = evaluate(test, scale)
        scores |= {f"{name}_raw": raw[name] for name in ("wql", "coverage_80")}
        return Evaluation(scores, test.to_frame())

    def predict(
        self, task: Task, description: Mapping[str, Any], source: Path
    ) -> tuple[pd.DataFrame, str]:
        """Forecast the steps after the last known target of a CSV file."""
        encoding = read_encoding(description)
        options = options_of(description, encoding)
        series, origins = read_user_file(source, encoding, options, self.recalibration_days)
        inputs = encoding.encode(series)
        forecast = forecast_origins(task, encoding, inputs, series, origins)
        forecast = recalibrate(forecast, self.recalibration_days)
        table = forecast.between(origins[-1], series.end).to_frame()
        if series.weekdays:
            table = table[table["timestamp"].dt.day_of_week < 5]
        table["timestamp"] = series.clock.write(pd.DatetimeIndex(table["timestamp"]))
        account = f"{series.account}; forecast from {origins[-1]}; "
        ended = len(origins) - encoding.horizon_days
        if self.recalibration_days == 0:
            account += "not recalibrated, as the run was trained"
        elif ended < LEAST:
            account += f"not recalibrated: that needs {LEAST - ended} more days of history"
        else:
            account += f"recalibrated on {min(ended, self.recalibration_days)} forecasts before"
        return table.drop(columns=["origin", "truth"]), account

    def figures(
        self, data: SeriesData, predictions: Mapping[str, pd.DataFrame]
    ) -> Sequence[Figure]:
        """Forecasts against truth, errors by time of day, reliability."""
        names = list(predictions)
        forecasts = {name: Forecast.from_frame(predictions[name]) for name in names}
        return figures(forecasts, data.encoding.target)

    @property
    def notes(self) -> list[str]:
        """What a reader of the scores must know."""
        notes = [
            "Covariates of the target day are the actual ones, as if the weather forecast were "
            "perfect; rows named no_covariates do without them."
        ]
        if isinstance(self.features, RegressionFeatures):
            notes += [
                "A network that began as a ridge regression forecasts together with it: the mean "
                "of both, or the ridge alone where that was better on validation days."
            ]
        if self.recalibration_days:
            notes += [
                f"Every row, baselines too, is recalibrated: its quantiles are shifted by their "
                f"errors over the {self.recalibration_days} days before."
            ]
        return notes
