"""Whether a network forecasts better than a baseline: Diebold-Mariano tests, seed by seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from apps.finance.backtests import diebold_mariano, fissler_ziegel, qlike
from apps.finance.forecast import Forecast
from apps.finance.panel import Floats
from apps.report.model.formatting import fixed, label
from apps.report.model.tables import Cell, Column, NamedTable, Table

MEAN = "mean of seeds"


def daily_qlike(forecast: Forecast) -> Floats:
    """The QLIKE of every day, the mean over assets."""
    daily: Floats = qlike(forecast.variance, forecast.realised).mean(axis=1)
    return daily


def daily_joint(forecast: Forecast) -> Floats:
    """The joint loss of VaR and shortfall at 1 % (Fissler and Ziegel) of every day."""
    loss = fissler_ziegel(forecast.truth, forecast.quantile(0.01), forecast.shortfall[..., 0], 0.01)
    daily: Floats = loss.mean(axis=1)
    return daily


LOSSES: dict[str, Callable[[Forecast], Floats]] = {"QLIKE": daily_qlike, "FZ 1 %": daily_joint}


def accuracy_tests(
    trained: Mapping[str, Mapping[int, Forecast]],
    baselines: Mapping[str, Forecast],
    horizon: int,
) -> Sequence[NamedTable]:
    """A table for each loss: its mean difference to each baseline, and the p-value."""
    if not trained or not baselines:
        return []
    columns = [Column("Strategy", words=True), Column("Seed", words=True)]
    columns += [Column(name, words=True) for name in baselines]
    return [
        NamedTable(
            f"{name}: Diebold-Mariano tests",
            Table(columns, {"": _rows(loss, trained, baselines, horizon)}),
            "Mean difference to the baseline over the test days (below zero the network is better) "
            "and the two-sided p-value, with Newey-West errors; bold under 5 %. The last row of a "
            "strategy takes the mean over seeds of each day's loss.",
        )
        for name, loss in LOSSES.items()
    ]


def _rows(
    loss: Callable[[Forecast], Floats],
    trained: Mapping[str, Mapping[int, Forecast]],
    baselines: Mapping[str, Forecast],
    horizon: int,
) -> list[list[Cell]]:
    rivals = [loss(forecast) for forecast in baselines.values()]
    rows = []
    for strategy, seeds in trained.items():
        losses = {str(seed): loss(forecast) for seed, forecast in seeds.items()}
        if len(losses) > 1:
            losses[MEAN] = np.mean(list(losses.values()), axis=0)
        for seed, ours in losses.items():
            cells = [_cell(ours, theirs, horizon) for theirs in rivals]
            rows.append([Cell(label(strategy), label(strategy)), Cell(seed, seed), *cells])
    return rows


def _cell(ours: Floats, theirs: Floats, horizon: int) -> Cell:
    mean, _, p = diebold_mariano(ours, theirs, horizon)
    shown = "p < 0.001" if p < 0.001 else f"p = {fixed(p, 3)}"
    return Cell(f"{mean:+.4f}, {shown}", mean, bold=p < 0.05)
