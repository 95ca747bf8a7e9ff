"""The band of a sweep for runs that diverged: legible for any number of strategies."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest

from apps.report.charts.sweep import sweep_figure
from apps.report.model.grids import Comparison
from apps.report.model.results import Metric
from tests.apps.report.comparisons import run

STRATEGIES = ("none", "global_norm", "autoclip", "zclip", "spectral", "spectra", "aggc")


def chart_of(scores: tuple[float, ...], direction: Any) -> dict[str, Any]:
    """Strategies that all complete at the first value, and all diverge at the second."""
    runs = []
    for name in STRATEGIES:
        settings: dict[str, Any] = {"settings": {"optimizer.lr": 0.1}}
        runs += [run(name, seed, score, **settings) for seed, score in enumerate(scores)]
        settings = {"settings": {"optimizer.lr": 1.0}, "status": "diverged"}
        runs += [run(name, seed, None, **settings) for seed in range(len(scores))]
    metric = Metric("loss", "Loss", "", direction, 2)
    chart = sweep_figure(Comparison(runs), "optimizer.lr", metric, "sweep").chart
    found: dict[str, Any] = chart.to_dict()
    return found


@pytest.mark.parametrize("direction", ["min", "max"])
@pytest.mark.parametrize("scores", [(1.0, 2.0), (0.01, 50.0), (-0.1, 0.1, 4000.0), (3.0, 3.0)])
def test_no_count_hides_another_and_no_run_lies_in_the_band(
    scores: tuple[float, ...], direction: str
) -> None:
    chart = chart_of(scores, direction)
    band, *drawn = chart["layer"]
    marks = [layer for layer in drawn if layer["mark"].get("shape") == "cross"]
    heights = sorted(mark["encoding"]["y"]["value"] for mark in marks)
    assert len(heights) == len(STRATEGIES)
    assert min(b - a for a, b in pairwise(heights)) >= 16
    rect = band["layer"][0]["encoding"]
    top, end = rect["y"]["value"], rect["y2"]["value"]
    assert top < heights[0] < heights[-1] < end <= chart["height"]
    points = next(layer for layer in drawn if layer["mark"]["type"] == "circle")
    places = [place(score, points["encoding"]["y"]["scale"], chart["height"]) for score in scores]
    assert all(0 <= y <= top if direction == "max" else end <= y <= chart["height"] for y in places)


def place(score: float, scale: dict[str, Any], height: float) -> float:
    """Where Vega draws a score, in pixels from the top."""
    kind, constant = scale.get("type", "linear"), scale.get("constant", 1.0)
    turn = {
        "linear": float,
        "log": math.log,
        "symlog": lambda x: math.copysign(math.log1p(abs(x) / constant), x),
    }[kind]
    low, high = map(turn, scale["domain"])
    return height * (high - turn(score)) / (high - low)
