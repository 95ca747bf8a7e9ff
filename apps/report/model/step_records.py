"""The runs' own files: steps.csv and epochs.csv."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from apps.report.model.formatting import short
from apps.report.model.grids import Comparison
from apps.report.model.runs import Run

STEP_COLUMNS = ("step", "epoch", "loss", "norm", "coefficient", "threshold", "worst_parameter")
MEASURED = ("kl",)  # what the steps of some applications measure beside; NaN for others
EPOCH_COLUMNS = ("epoch", "step", "train_loss", "val_loss")


@dataclass(frozen=True, slots=True)
class Bound:
    """The finite thresholds of one strategy over all steps: median and range."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isclose(self.low, self.high):
            return f"threshold {short(self.median)}"
        return f"threshold {short(self.low)} to {short(self.high)}, median {short(self.median)}"


@dataclass(frozen=True, slots=True)
class Records:
    """Steps and epochs of a comparison's runs; rows name `clipping`, `seed`, `status` and `run`."""

    steps: pd.DataFrame
    epochs: pd.DataFrame

    def bound(self, clipping: str) -> Bound | None:
        """The thresholds of a strategy; None for one without (such as the unclipped runs)."""
        values = self.steps.loc[self.steps["clipping"] == clipping, "threshold"].to_numpy(float)
        values = values[np.isfinite(values)]
        if values.size == 0:
            return None
        return Bound(float(np.median(values)), float(values.min()), float(values.max()))


def read_records(compared: Comparison, output_dir: Path) -> Records:
    """Read the files of every run; a run without them contributes nothing."""
    return Records(
        _gather(compared.runs, output_dir, "steps.csv", (*STEP_COLUMNS, *MEASURED)),
        _gather(compared.runs, output_dir, "epochs.csv", EPOCH_COLUMNS),
    )


def _gather(runs: list[Run], output_dir: Path, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    frames = []
    for run in runs:
        frame = _read(output_dir / run.run_dir / name, columns)
        if not frame.empty:
            keys = {"clipping": run.clipping, "seed": run.seed, "status": run.status}
            keys["run"] = run.run_dir
            frames.append(frame.assign(**keys))
    if frames:
        return pd.concat(frames, ignore_index=True)
    return pd.DataFrame(columns=[*columns, "clipping", "seed", "status", "run"])


def _read(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    # A run that was killed may leave no file, an empty one or half a last line.
    try:
        frame = pd.read_csv(
            path,
            dtype=str,
            usecols=lambda name: name in columns,
            on_bad_lines="skip",
            keep_default_na=False,
        )
    except (FileNotFoundError, NotADirectoryError, pd.errors.EmptyDataError):
        return pd.DataFrame(columns=list(columns))
    frame = frame.reindex(columns=list(columns))
    for column in columns:
        if column != "worst_parameter":
            frame[column] = pd.to_numeric(frame[column], errors="coerce").astype(float)
    return frame[np.isfinite(frame["step"])]


def worst_parameters(records: Records, top: int = 8) -> pd.DataFrame:
    """Share of each strategy's steps in which a parameter had the largest norm.

    One row per parameter (the `top` most frequent, the rest as "other"), one column per strategy.
    """
    names = records.steps["worst_parameter"].dropna().astype(str)
    names = names[names != ""]
    if names.empty:
        return pd.DataFrame()
    frequent = names.value_counts().index[:top]
    names = names.where(names.isin(frequent), "other")
    clipping = records.steps["clipping"].loc[names.index]
    shares = pd.crosstab(names, clipping, normalize="columns")
    rest = ["other"] if "other" in shares.index else []
    return shares.reindex([*frequent, *rest])
