"""Comparisons as a report: the same tables, charts and statistics for every application."""

from __future__ import annotations

from apps.report.page import write_report
from apps.report.results import Metric, Results, Run, Sweep, read_results, write_results
from apps.report.theme import Figure

__all__ = [
    "Figure",
    "Metric",
    "Results",
    "Run",
    "Sweep",
    "read_results",
    "write_report",
    "write_results",
]
