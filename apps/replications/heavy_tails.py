"""Does clipped SGD converge where noise has no variance? (Zhang et al. 2020)."""

from __future__ import annotations

from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd

from apps.replications.claims import Claim, Repetition, number
from apps.replications.slopes import facets
from apps.report.charts.theme import Figure, colours
from apps.report.model.formatting import label
from apps.report.model.results import Results
from apps.report.model.runs import UNCLIPPED, Run

SOURCE = "Zhang et al. 2020, arXiv:1912.03194 (clipped SGD on strongly convex functions)"
INDEX = "data.tail_index"
CLIPPED, BY_COORDINATE = "gclip", "cclip"
SCORES = ("mean", "median", "largest_share")
MARGIN = 0.1  # by which a measured exponent may fall short of the proven one
_POINTS = 40


def repeat(results: Results, folder: Path) -> Repetition:
    """The excess by step, its exponent, and whose it is."""
    runs = [run for run in results.grid.runs if run.test.keys() >= {*SCORES}]
    if not runs:
        return Repetition(SOURCE, [], [])
    indices = [number(results, run.settings, INDEX) for run in runs]
    courses = pd.concat(
        [
            _course(run, folder).assign(index=index)
            for run, index in zip(runs, indices, strict=True)
        ],
        ignore_index=True,
    )
    ends = pd.DataFrame(
        [
            {"index": index, "clipping": run.clipping, **{name: run.test[name] for name in SCORES}}
            for run, index in zip(runs, indices, strict=True)
        ]
    )
    means = ends.groupby(["index", "clipping"]).mean()
    claims = [_converges(courses), _infinite(means), _by_coordinate(means)]
    return Repetition(SOURCE, claims, [_figure(results, courses)])


def _course(run: Run, folder: Path) -> pd.DataFrame:
    """The mean excess over a run's replications, at steps that are evenly spaced in logarithms."""
    losses = pd.read_csv(folder / run.run_dir / "steps.csv", usecols=["step", "loss"])
    steps = np.unique(np.geomspace(1, len(losses), _POINTS).round().astype(int))
    return pd.DataFrame(
        {
            "step": steps,
            "excess": losses["loss"].to_numpy()[steps - 1],
            "clipping": run.clipping,
        }
    )


def proven(index: float) -> float:
    """The exponent that the paper proves: the mean excess after k steps is O(k^-(2 - 2/alpha))."""
    return 2.0 - 2.0 / index


def measured(course: pd.DataFrame) -> float:
    """The exponent of the mean course over its last nine tenths, by least squares."""
    mean = course.groupby("step")["excess"].mean()
    mean = mean[mean.index >= mean.index.max() / 10]
    slope, _ = np.polyfit(np.log(mean.index), np.log(mean.to_numpy()), 1)
    return -float(slope)


def _converges(courses: pd.DataFrame) -> Claim:
    said, agrees = [], []
    for index, course in courses[courses["clipping"] == CLIPPED].groupby("index"):
        found, wanted = measured(course), proven(index)
        said.append(f"{found:.2f} (proven {wanted:.2f}) at index {index:g}")
        agrees.append(found >= wanted - MARGIN)
    return Claim(
        "With a threshold that grows as k^(1/alpha), the mean excess of clipped SGD falls at least "
        "as fast as k^-(2 - 2/alpha).",
        f"exponents of gclip: {'; '.join(said) or 'no run'}.",
        all(agrees) if agrees else None,
    )


def _infinite(means: pd.DataFrame) -> Claim:
    said, agrees = [], []
    for index in means.index.unique("index"):
        of = means.loc[index]
        if not {UNCLIPPED, CLIPPED} <= set(of.index):
            continue
        plain, clipped = of.loc[UNCLIPPED], of.loc[CLIPPED]
        said.append(
            f"index {index:g}: mean {plain['mean']:.3g} against {clipped['mean']:.3g}, of which "
            f"the worst replication is {plain.largest_share:.0f} % against "
            f"{clipped.largest_share:.0f} %; median {plain['median']:.3g} against "
            f"{clipped['median']:.3g}"
        )
        agrees.append(plain["mean"] > clipped["mean"] and plain.largest_share > 10.0)
    return Claim(
        "Without clipping the expected excess is infinite, for any number of steps.",
        f"unclipped against gclip at the end: {'; '.join(said) or 'no run'}. A sample mean cannot "
        "be infinite; that one replication makes up most of it is what it looks like.",
        all(agrees) if agrees else None,
    )


def _by_coordinate(means: pd.DataFrame) -> Claim:
    others = [n for n in (CLIPPED, BY_COORDINATE, "acclip") if n in means.index.unique("clipping")]
    wide = means["mean"].unstack()[others]
    said = [
        f"index {index:g}: " + ", ".join(f"{name} {row[name]:.3g}" for name in others)
        for index, row in wide.iterrows()
    ]
    there = {CLIPPED, BY_COORDINATE} <= set(others)
    return Claim(
        "Where the noise is independent in every coordinate, clipping each by itself does better.",
        f"mean excess at the end: {'; '.join(said)}. acclip has a threshold that does not grow.",
        bool((wide[BY_COORDINATE] <= wide[CLIPPED]).all()) if there else None,
    )


def _figure(results: Results, courses: pd.DataFrame) -> Figure:
    mean = courses.groupby(["index", "clipping", "step"], as_index=False)["excess"].mean()
    mean["strategy"] = [label(name) for name in mean["clipping"]]
    mean["which"] = [f"tail index {index:g}" for index in mean["index"]]
    chart = (
        alt.Chart()
        .mark_line(strokeWidth=2)
        .encode(
            alt.X("step:Q", title="step", scale=alt.Scale(type="log"), axis=alt.Axis(tickCount=4)),
            alt.Y("excess:Q", title="mean excess", scale=alt.Scale(type="log")),
            colours(results.grid.strategies),
            tooltip=["strategy:N", "step:Q", "excess:Q"],
        )
    )
    return Figure(
        "heavy_tails",
        "Mean excess under heavy-tailed noise",
        "The mean of f over all replications and seeds, by step; dashed, the slope that the paper "
        "proves for gclip. The jumps of the unclipped mean are single replications.",
        facets(chart, alt.X("step:Q"), "excess", mean, _proofs(mean)),
    )


def _proofs(mean: pd.DataFrame) -> pd.DataFrame:
    """For each tail index a line of the proven slope through gclip's last point."""
    lines = []
    for _, course in mean[mean["clipping"] == CLIPPED].groupby("which"):
        late = course[course["step"] >= course["step"].max() / 100]
        last = course.iloc[-1]
        line = last.excess * (late["step"] / last.step) ** -proven(float(last["index"]))
        lines.append(pd.DataFrame({"step": late["step"], "which": last.which, "proven": line}))
    return pd.concat(lines) if lines else pd.DataFrame(columns=["step", "which", "proven"])
