"""How much better a driver scores than another, in the same scenarios, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from apps.driving.traffic import Floats
from apps.report.model.formatting import fixed, label
from apps.report.model.runs import UNCLIPPED
from apps.report.model.tables import Cell, Column, NamedTable, Table

DRAWS = 2000
_TITLE = "Score against other drivers, scenario by scenario"
_NOTE = (
    "The mean difference of the scores of the test scenarios, those of the same seed and scenario "
    "(of a baseline: the same scenario) against each other, and its 95 % interval: a percentile "
    "bootstrap that draws seeds and scenarios with replacement. Bold where it leaves out zero. "
    "With one seed it knows nothing of how trainings differ, with a few too little."
)


def interval(differences: Floats, level: float = 0.95) -> tuple[float, float]:
    """The bootstrap interval of the mean of differences (seeds, scenarios), both drawn anew.

    Owen 2007, The pigeonhole bootstrap. The draws are the same in every call.

    >>> interval(np.full((3, 5), 2.0))
    (2.0, 2.0)
    """
    draw = np.random.default_rng(0)
    seeds, scenarios = (
        draw.multinomial(size, np.full(size, 1.0 / size), size=DRAWS) / size
        for size in differences.shape
    )
    means = ((seeds @ differences) * scenarios).sum(axis=1)
    low, high = np.quantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return round(float(low), 9), round(float(high), 9)


def paired_scores(
    trained: Mapping[str, Mapping[int, pd.DataFrame]], baselines: Mapping[str, pd.DataFrame]
) -> Sequence[NamedTable]:
    """The table of differences; none where there is nothing to compare with."""
    columns = [Column("Strategy", words=True), Column("Against", words=True), Column("Seeds")]
    columns += [Column("Difference"), Column("95 % interval", words=True)]
    rows = [
        _row(strategy, other, differences)
        for strategy in trained
        for other, differences in _differences(strategy, trained, baselines)
    ]
    return [NamedTable(_TITLE, Table(columns, {"": rows}), _NOTE)] if rows else []


def _differences(
    strategy: str,
    trained: Mapping[str, Mapping[int, pd.DataFrame]],
    baselines: Mapping[str, pd.DataFrame],
) -> Iterator[tuple[str, Floats]]:
    """Differences (seeds, scenarios) to the unclipped runs and to each baseline, by name."""
    own = {seed: _scores(table) for seed, table in trained[strategy].items()}
    unclipped = trained.get(UNCLIPPED, {})
    shared = [seed for seed in own if seed in unclipped]
    if strategy != UNCLIPPED and shared:
        yield UNCLIPPED, np.stack([own[seed] - _scores(unclipped[seed]) for seed in shared])
    for name, table in baselines.items():
        yield name, np.stack(list(own.values())) - _scores(table)


def _scores(table: pd.DataFrame) -> Floats:
    found: Floats = table.loc[table["split"] == "test", "score"].to_numpy(np.float64)
    return found


def _row(strategy: str, other: str, differences: Floats) -> list[Cell]:
    mean, (low, high) = float(differences.mean()), interval(differences)
    return [
        Cell(label(strategy)),
        Cell(label(other)),
        Cell(str(len(differences)), len(differences)),
        Cell(fixed(mean, 2), mean, bold=low > 0 or high < 0),
        Cell(f"{fixed(low, 2)} to {fixed(high, 2)}", low),
    ]
