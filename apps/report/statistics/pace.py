"""How smoothly and how fast runs trained: loss spikes, and the steps to a given score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np
import pandas as pd

from apps.report.model.runs import UNCLIPPED, Run
from apps.report.model.step_records import Records

SPIKE_DEVIATIONS, SPIKE_WINDOW, SPIKE_HISTORY = 7.0, 1000, 50
# The validation losses in epochs.csv are printed numbers.
_PRINTED = 1e-6


@dataclass(frozen=True, slots=True)
class Pace:
    """One strategy's runs: loss spikes per run, and the optimizer steps to the target.

    `steps` is the median over all runs, of which those that never reached the target count as
    infinitely slow; None where that is the median.
    """

    runs: int
    spikes: float | None
    reached: int
    steps: float | None


def loss_spikes(losses: Sequence[float] | pd.Series[float]) -> int:
    """The steps whose loss is over seven standard deviations above the mean of those before.

    Of up to 1000 steps before, and at least 50: the spike score of OLMo 2 (arXiv:2501.00656),
    counted upward only. Losses that are not finite are no spikes but the end of a run.
    """
    every = pd.Series(losses, dtype=float)
    finite = every[np.isfinite(every)]
    before = finite.shift(1).rolling(SPIKE_WINDOW, min_periods=SPIKE_HISTORY)
    return int((finite - before.mean() > SPIKE_DEVIATIONS * before.std()).sum())


def spikes_per_run(runs: Sequence[Run], records: Records) -> float | None:
    """Mean number of loss spikes of those runs that left a record."""
    steps = records.steps[records.steps["run"].isin([run.run_dir for run in runs])]
    counts = [loss_spikes(group["loss"]) for _, group in steps.groupby("run")]
    return fmean(counts) if counts else None


def target_loss(groups: Mapping[str, Sequence[Run]]) -> float | None:
    """The validation loss to reach: the median over seeds of the unclipped runs' lowest.

    Where no unclipped run completed, that of the strategy which came least far.
    """
    middles = {}
    for name, runs in groups.items():
        done = [run.val_loss for run in runs if run.status == "completed"]
        losses = [loss for loss in done if loss is not None]
        if losses:
            middles[name] = median(losses)
    return middles.get(UNCLIPPED, max(middles.values(), default=None))


def paces(groups: Mapping[str, Sequence[Run]], records: Records) -> dict[str, Pace]:
    """The pace of each strategy, all toward the same target."""
    target = target_loss(groups)
    return {name: _pace(runs, records, target) for name, runs in groups.items()}


def _pace(runs: Sequence[Run], records: Records, target: float | None) -> Pace:
    spikes = spikes_per_run(runs, records)
    if target is None or not runs:
        return Pace(len(runs), spikes, 0, None)
    epochs = records.epochs[records.epochs["run"].isin([run.run_dir for run in runs])]
    good = epochs[epochs["val_loss"] <= target + _PRINTED * abs(target)]
    first = [float(step) for step in good.groupby("run")["step"].min()]
    middle = median([*first, *[math.inf] * (len(runs) - len(first))])
    return Pace(len(runs), spikes, len(first), middle if math.isfinite(middle) else None)
