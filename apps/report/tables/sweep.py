"""The table of a sweep: how each strategy stands it."""

from __future__ import annotations

from apps.report.model.formatting import DASH, fixed, label, short
from apps.report.model.grids import Comparison
from apps.report.model.results import Metric
from apps.report.model.runs import UNCLIPPED
from apps.report.model.step_records import Records
from apps.report.model.tables import Cell, Column, Table
from apps.report.statistics.pace import paces
from apps.report.statistics.sweep import Stand, by_value, close_range, stands, working_range
from apps.report.tables.pace import PACE_COLUMNS, pace_cells


def sweep_table(swept: Comparison, axis: str, metric: Metric, records: Records) -> Table:
    """How each strategy stands the sweep; its pace is that of the runs at its best value."""
    found = stands(swept, axis, metric)
    chosen = {
        name: by_value(swept.of(name), axis).get(stand.best_at, [])
        for name, stand in found.items()
        if stand.best_at is not None
    }
    pace = pace_cells(paces(chosen, records))
    columns = [
        Column("Strategy", words=True),
        Column("Diverged", "runs"),
        Column("Best", f"{metric.label} there, median over seeds"),
        Column("Best at", f"{axis}, by validation loss"),
        Column("Median", "of completed runs"),
        Column("Working range", f"{axis}: every run completed"),
        Column("Against unclipped", "times as wide"),
        Column("Within 10 % of the best", axis),
        *PACE_COLUMNS[:2],
    ]
    rows = [
        [*_stand(name, stand, metric), *_ranges(swept, axis, name, stand), *_pace(pace.get(name))]
        for name, stand in found.items()
    ]
    return Table(columns, {"": rows})


def _stand(name: str, stand: Stand, metric: Metric) -> list[Cell]:
    failed = f", {stand.failed} failed" if stand.failed else ""
    return [
        Cell(label(name), label(name)),
        Cell(f"{stand.diverged} of {stand.runs}{failed}", stand.diverged),
        Cell(fixed(stand.best, metric.decimals), stand.best),
        Cell(short(stand.best_at), stand.best_at),
        Cell(fixed(stand.median, metric.decimals), stand.median),
    ]


def _ranges(swept: Comparison, axis: str, name: str, stand: Stand) -> list[Cell]:
    working, base = (working_range(swept.of(one), axis) for one in (name, UNCLIPPED))
    factor = working.factor if working else None
    wider = working.wider_than(base) if working and base else None
    close = close_range(stand, swept.runs, axis)
    return [
        Cell(str(working or "nowhere"), factor),
        Cell(short(wider), wider),
        Cell(str(close or "nowhere"), close.factor if close else None),
    ]


def _pace(cells: list[Cell] | None) -> list[Cell]:
    return cells[:2] if cells else [Cell(DASH), Cell(DASH)]
