"""The table of how smoothly and how fast each strategy trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from apps.report.model.formatting import DASH, label, short
from apps.report.model.runs import UNCLIPPED, Run
from apps.report.model.step_records import Records
from apps.report.model.tables import Cell, Column, Table
from apps.report.statistics.pace import Pace, paces

PACE_COLUMNS = [
    Column("Loss spikes", "per run"),
    Column("Steps to target", "median over runs"),
    Column("Against unclipped", "times its steps"),
    Column("Reached it", "runs"),
]


def pace_table(groups: Mapping[str, Sequence[Run]], records: Records) -> Table | None:
    """Loss spikes and steps to the target of each strategy; None where runs left no records."""
    found = paces(groups, records)
    if records.steps.empty and records.epochs.empty:
        return None
    rows = [[Cell(label(name), label(name)), *cells] for name, cells in pace_cells(found).items()]
    return Table([Column("Strategy", words=True), *PACE_COLUMNS], {"": rows})


def pace_cells(found: Mapping[str, Pace]) -> dict[str, list[Cell]]:
    """What stands in `PACE_COLUMNS` for each strategy."""
    base = found[UNCLIPPED].steps if UNCLIPPED in found else None
    return {name: _cells(pace, base) for name, pace in found.items()}


def _cells(pace: Pace, base: float | None) -> list[Cell]:
    ratio = pace.steps / base if pace.steps is not None and base else None
    return [
        Cell(short(pace.spikes), pace.spikes),
        Cell(DASH if pace.steps is None else f"{pace.steps:,.0f}", pace.steps),
        Cell(short(ratio), ratio),
        Cell(f"{pace.reached} of {pace.runs}", pace.reached),
    ]
