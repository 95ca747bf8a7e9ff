"""Scores as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from apps.report.model.formatting import fixed
from apps.report.model.results import Metric


def scores_text(scores: Mapping[str, Mapping[str, float]], metrics: Sequence[Metric]) -> str:
    """One row for each name, one column for each metric, numbers to the right."""
    heads = [f"{m.label} {m.unit}".strip() for m in metrics]
    rows = [
        [name, *(fixed(values.get(m.name), m.decimals) for m in metrics)]
        for name, values in scores.items()
    ]
    table = [["", *heads], *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(heads) + 1)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    )
