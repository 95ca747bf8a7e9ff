"""What an application is made of, what its run forecast, and a record of steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from hydra import initialize_config_dir

from apps import CONF
from apps.cli.compose import compose_run
from apps.run.experiment import Experiment


def parts(small: list[str], *more: str) -> Experiment:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return Experiment(compose_run("finance", [*small, *more]))


def read(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "predictions.parquet")


def record_of(data, num_steps: int, worst: int) -> pd.DataFrame:
    norm = np.ones(num_steps)
    norm[worst] = 50.0
    epochs = np.arange(num_steps) // 2 + 1
    columns = {"step": np.arange(num_steps), "epoch": epochs, "loss": 1.0, "norm": norm}
    return pd.DataFrame(columns).assign(coefficient=1 / norm, threshold=1.0)
