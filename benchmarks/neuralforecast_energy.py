"""NHITS and TiDE of NeuralForecast on a series of app=energy, at as many seconds of training.

    python -m benchmarks.neuralforecast_energy --seconds 10 100 --seeds 0 1 2

They see what ours see: a week of history, the covariates known ahead, hour and weekday; learn nine
quantiles on the training days; forecast every day from midnight, and are recalibrated and scored as
ours are. Everything else is as it ships. Needs `pip install -e '.[clients]'`. Kept in
docs/energy.md with its command, since it takes minutes.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd
import torch
from hydra import initialize_config_dir
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import MQLoss
from neuralforecast.models import NHITS, TiDE
from pytorch_lightning import Callback, LightningModule, Trainer

from apps import CONF
from apps.cli.compose import compose_run
from apps.energy.application import Energy
from apps.energy.data import SeriesData
from apps.energy.forecast import LEVELS, Forecast
from apps.run.experiment import Experiment

MODELS = {"NHITS": NHITS, "TiDE": TiDE}
WEEK = 7  # days of history, of which the ridge takes single lags up to two weeks old


class Clock(Callback):
    """Ends a training after so many CPU-seconds, and counts its steps.

    On the class, since NeuralForecast trains with a copy.
    """

    steps = 0

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        self.began = time.process_time()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """End."""
        Clock.steps = trainer.global_step
        trainer.should_stop = time.process_time() - self.began > self.seconds


def long_table(data: SeriesData) -> pd.DataFrame:
    """The series as NeuralForecast wants it, with hour and weekday as waves."""
    series = data.series
    times = pd.DatetimeIndex(series.frame.index)
    table = series.frame[["target", *series.covariates]].rename(columns={"target": "y"})
    table = table.assign(ds=times, unique_id="series")
    day = np.asarray((times - times.normalize()) / pd.Timedelta(days=1))
    for name, phase in (("day", day), ("week", (times.day_of_week + day) / 7)):
        table[f"{name}_sin"] = np.sin(2 * np.pi * phase)
        table[f"{name}_cos"] = np.cos(2 * np.pi * phase)
    return table.reset_index(drop=True)


def forecast(data: SeriesData, name: str, seconds: float, seed: int) -> tuple[Forecast, int]:
    """Forecasts of every day after training, and the steps of training."""
    series, horizon, table = data.series, data.encoding.horizon, long_table(data)
    model = MODELS[name](
        h=horizon,
        input_size=WEEK * series.steps_per_day,
        loss=MQLoss(quantiles=list(LEVELS)),
        futr_exog_list=[column for column in table if column not in ("y", "ds", "unique_id")],
        scaler_type="standard",
        max_steps=1_000_000,
        callbacks=[Clock(seconds)],
        random_seed=seed,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    later = len(table) - int(series.positions(pd.DatetimeIndex([series.val_start]))[0])
    peer = NeuralForecast([model], freq=pd.tseries.frequencies.to_offset(series.frequency))
    found = peer.cross_validation(
        table, n_windows=None, step_size=horizon, test_size=later, val_size=0
    )
    columns = [column for column in found if column.startswith(name)]
    assert len(columns) == len(LEVELS)
    found = found.sort_values(["cutoff", "ds"])
    shape = (-1, horizon)
    times = found["ds"].to_numpy().reshape(shape)
    quantiles = np.sort(found[columns].to_numpy(np.float64), axis=1)
    origins = pd.DatetimeIndex(times[:, 0])
    truth = found["y"].to_numpy(np.float64).reshape(shape)
    quantiles = quantiles.reshape(*shape, len(LEVELS))
    return Forecast(origins, times, truth, quantiles, LEVELS), Clock.steps


def main() -> None:
    """Print a row for each model, time and seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("overrides", nargs="*", help="of app=energy, such as data=vic_electricity")
    parser.add_argument("--seconds", type=float, nargs="*", default=[10.0, 100.0], help="of CPU")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    for logger in ("lightning", "lightning.pytorch", "pytorch_lightning", "neuralforecast"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        experiment = Experiment(compose_run("energy", given.overrides))
    application, data = _parts(experiment)
    print("model, seconds, seed, steps, wQL, MAPE, CPU-seconds")
    for name in MODELS:
        for seconds in given.seconds:
            for seed in given.seeds:
                began = time.process_time()
                found, steps = forecast(data, name, seconds, seed)
                scores = application.score(found, data).metrics
                spent = time.process_time() - began
                row = f"{scores['wql']:.2f}, {scores['mape']:.2f}, {spent:.0f}"
                print(f"{name}, {seconds:g}, {seed}, {steps}, {row}", flush=True)


def _parts(experiment: Experiment) -> tuple[Energy, SeriesData]:
    application: Any = experiment.application
    data: Any = experiment.data
    return application, data


if __name__ == "__main__":
    main()
