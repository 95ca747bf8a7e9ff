"""Whole comparisons, large and small."""

from __future__ import annotations

from pathlib import Path

import pytest

from apps.report import Results
from tests.apps.report.comparisons import make_results, make_run, make_sweep, write_run


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path]:
    """Four strategies, three seeds, a diverged and a failed run, baselines, a sweep."""
    output_dir = tmp_path_factory.mktemp("full")
    status = {("none", 3): "diverged", ("zclip", 2): "failed", ("global_norm", 3): "diverged"}
    runs = [
        make_run(output_dir, clipping, seed, status=status.get((clipping, seed), "completed"))
        for clipping in ("none", "global_norm", "autoclip", "zclip")
        for seed in (1, 2, 3)
    ]
    baselines = {
        "ridge": {"loss": 3.54, "accuracy": None, "coverage_80": None},
        "seasonal naive": {"loss": 7.2, "accuracy": 0.7, "coverage_80": 61.0},
    }
    notes = ["Uses the target day's actual temperature: a perfect weather forecast."]
    sweep = make_sweep()
    write_run(output_dir / sweep.runs[0].run_dir, "none", 1)
    results = make_results(runs, baselines=baselines, sweep=sweep, notes=notes)
    return results, output_dir


@pytest.fixture
def small(tmp_path: Path) -> tuple[Results, Path]:
    """Two strategies, one seed, no baselines, no sweep."""
    runs = [make_run(tmp_path, clipping, 1) for clipping in ("none", "autoclip")]
    return make_results(runs), tmp_path
