"""Which batch, and which day in it, a training run broke on."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from apps.finance.data import Indices, PanelData

RECENT = 30  # steps


def explain(data: PanelData, steps: pd.DataFrame, diverged_at: int) -> str | None:
    """One line: the largest gradient of the 30 steps up to the break, and its batch's largest move.

    steps: the run's `steps.csv`. None where no finite gradient was recorded among them.
    """
    recent = steps["step"].between(diverged_at - RECENT, diverged_at)
    before = steps[recent & np.isfinite(steps["norm"])]
    if before.empty:
        return None
    row = before.loc[before["norm"].idxmax()]
    days, assets = step_batches(data, steps["epoch"])(int(row["step"]))
    moves = data.panel.targets(data.horizon)[0][days, assets]
    at = int(np.argmax(np.abs(moves)))
    day = data.panel.dates[days[at] + data.horizon]
    usual = steps.loc[steps["step"] <= diverged_at, "norm"].median()
    broken = "collapsed" if np.isfinite(steps["loss"]).all() else "broke"
    where = "" if len(data.panel.assets) == 1 else f" of {data.panel.assets[assets[at]]}"
    return (
        f"the forecast {broken} at step {diverged_at}; the largest gradient before it came at "
        f"step {int(row['step'])}, norm {row['norm']:.3g} (median {usual:.2g}), from a batch with "
        f"{day:%Y-%m-%d} (return {moves[at]:+.1f} %{where})"
    )


def step_batches(data: PanelData, epochs: pd.Series) -> Callable[[int], tuple[Indices, Indices]]:
    """A function from an optimizer step (0, 1, ...) to the rows and assets that it saw.

    epochs: that of every step. The draw of an epoch depends on the seed alone, so nothing has to
    be recorded for it.
    """
    num_batches = len(data.batches(0))
    whole = epochs.nunique() > 1  # else the first may have broken off, with one batch a step
    steps_per_epoch = int((epochs == epochs.iloc[0]).sum()) if whole else num_batches
    per_step = math.ceil(num_batches / steps_per_epoch)
    drawn: dict[int, list[tuple[Indices, Indices]]] = {}

    def at(step: int) -> tuple[Indices, Indices]:
        epoch, number = divmod(step, steps_per_epoch)
        if epoch not in drawn:
            drawn[epoch] = data.batches(epoch)
        window = drawn[epoch][per_step * number : per_step * (number + 1)]
        rows, assets = zip(*window, strict=True)
        return np.concatenate(rows), np.concatenate(assets)

    return at
