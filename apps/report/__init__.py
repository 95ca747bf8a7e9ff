"""Comparisons as a report: the same tables, charts and statistics for every application."""

from __future__ import annotations

from apps.report.charts.theme import Figure
from apps.report.model.grids import Comparison, Grid
from apps.report.model.results import Metric, Results, read_results, write_results
from apps.report.model.runs import Run
from apps.report.page.report import write_report

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
