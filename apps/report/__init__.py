"""Comparisons as a report: the same tables, charts and statistics for every application."""

from __future__ import annotations

from apps.report.grids import Comparison, Grid
from apps.report.page import write_report
from apps.report.results import Metric, Results, read_results, write_results
from apps.report.runs import Run
from apps.report.theme import Figure

__all__ = [
    "Comparison",
    "Figure",
    "Grid",
    "Metric",
    "Results",
    "Run",
    "read_results",
    "write_report",
    "write_results",
]
