"""Is noise of low rank best clipped in its singular values? (Yukhimchuk et al. 2026)."""

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
from apps.report.model.runs import UNCLIPPED

SOURCE = "Yukhimchuk et al. 2026, arXiv:2605.11838 (spectral clipping under heavy-tailed noise)"
INDEX, STEPS, FACTOR = "data.tail_index", "app.steps", "clipping.t"
CLAMP = "clamp"
MARGIN = 0.1  # by which a measured exponent may fall short of the proven one


def repeat(results: Results, folder: Path) -> Repetition:
    """The mean squared gradient norm by number of steps, its exponent, and whose is least."""
    means = _means(results)
    if means.empty:
        return Repetition(SOURCE, [], [])
    claims = [_falls(means), _least(means), _unclipped(means)]
    return Repetition(SOURCE, claims, [_figure(results, means)])


def _means(results: Results) -> pd.DataFrame:
    """The scores, means over seeds, of each strategy with one t for all numbers of steps.

    It is that which validates best, by the mean logarithm over these numbers and the seeds.
    """
    rows = pd.DataFrame(
        [
            {
                "index": number(results, run.settings, INDEX),
                "clipping": run.clipping,
                "steps": int(number(results, run.settings, STEPS)),
                "t": run.settings.get(FACTOR, np.nan),
                "log_val": np.log(run.val_loss),
                "mean": score,
            }
            for run in results.grid.runs
            if (score := run.score("mean")) is not None and run.val_loss is not None
        ],
        columns=["index", "clipping", "steps", "t", "log_val", "mean"],
    )
    groups = rows.groupby(["index", "clipping", "t", "steps"], dropna=False, as_index=False).mean()
    kept = []
    for _, of in groups.groupby(["index", "clipping"]):
        best = of.groupby("t", dropna=False)["log_val"].mean().idxmin()
        kept.append(of[of["t"].isna() if np.isnan(best) else of["t"] == best])
    return pd.concat(kept, ignore_index=True) if kept else rows


def proven(index: float) -> float:
    """The exponent that the paper proves: the mean is O(K^-((2a - 2) / (3a - 2)))."""
    return (2 * index - 2) / (3 * index - 2)


def measured(of: pd.DataFrame) -> float | None:
    """The power of K by which the mean falls, by least squares; None for one K alone."""
    if len(of) < 2:
        return None
    slope, _ = np.polyfit(np.log(of["steps"]), np.log(of["mean"]), 1)
    return -float(slope)


def _falls(means: pd.DataFrame) -> Claim:
    said, agrees = [], []
    for index, of in means.groupby("index"):
        found = {name: measured(rows) for name, rows in of.groupby("clipping", sort=False)}
        known = ", ".join(f"{name} {power:.2f}" for name, power in found.items() if power)
        said.append(f"index {index:g} (proven {proven(index):.2f}): {known or 'one K alone'}")
        if (power := found.get(CLAMP)) is not None:
            agrees.append(power >= proven(index) - MARGIN)
    return Claim(
        "With singular values clamped, at the rate and threshold of the theorem, the mean squared "
        "gradient norm of K steps falls at least as fast as K^-((2a - 2) / (3a - 2)).",
        f"exponents: {'; '.join(said)}.",
        all(agrees) if agrees else None,
    )


def _least(means: pd.DataFrame) -> Claim:
    """In all that was measured: at every index and number of steps."""
    said, agrees = [], []
    for (index, steps), of in means.groupby(["index", "steps"]):
        clipped = of[of["clipping"] != UNCLIPPED].set_index("clipping")
        known = [f"{name} {row['mean']:.3g} (t {row['t']:g})" for name, row in clipped.iterrows()]
        said.append(f"index {index:g}, K {steps}: {', '.join(known)}")
        others = clipped["mean"].drop(CLAMP, errors="ignore")
        if CLAMP in clipped.index and len(others):
            agrees.append(clipped.loc[CLAMP, "mean"] < others.min())
    return Claim(
        "Outliers raise few singular values, so that clamping these does better than scaling the "
        "matrix or clamping its elements.",
        f"mean squared gradient norm: {'; '.join(said)}.",
        all(agrees) if agrees else None,
    )


def _unclipped(means: pd.DataFrame) -> Claim:
    text = (
        "Without clipping the expectation is infinite, as that of the squared noise is; a sample "
        "shows it as a larger mean."
    )
    wide = means.pivot_table("mean", ["index", "steps"], "clipping")
    if not {UNCLIPPED, CLAMP} <= set(wide):
        return Claim(text, "no run.", None)
    said = [
        f"index {index:g}, K {steps}: {row[UNCLIPPED]:.3g} against {row[CLAMP]:.3g}"
        for (index, steps), row in wide.iterrows()
    ]
    return Claim(
        text,
        f"unclipped against clamp: {'; '.join(said)}.",
        bool((wide[UNCLIPPED] > wide[CLAMP]).all()),
    )


def _figure(results: Results, means: pd.DataFrame) -> Figure:
    table = means.drop(columns=["t", "log_val"])
    table["strategy"] = [label(name) for name in table["clipping"]]
    table["which"] = [f"tail index {index:g}" for index in table["index"]]
    scale = alt.Scale(type="log", nice=False)
    x = alt.X("steps:Q", title="steps K", scale=scale, axis=alt.Axis(tickCount=4))
    lines = (
        alt.Chart()
        .mark_line(strokeWidth=2, point=True)
        .encode(
            x,
            alt.Y("mean:Q", title="mean squared gradient norm", scale=scale),
            colours(results.grid.strategies),
            tooltip=["strategy:N", "steps:Q", "mean:Q"],
        )
    )
    return Figure(
        "spectral",
        "Mean squared gradient norm under noise of low rank",
        "By number of steps, each strategy with the t that validates best; dashed, the slope that "
        "the paper proves for clamped singular values.",
        facets(lines, x, "mean", table, _proofs(table)),
    )


def _proofs(table: pd.DataFrame) -> pd.DataFrame:
    """For each tail index a line of the proven slope, through the first point of the clamp."""
    of = table[table["clipping"] == CLAMP].sort_values("steps")
    first = of.groupby("which")[["steps", "mean"]].transform("first")
    powers = of["index"].map(proven)
    line = first["mean"] * (of["steps"] / first["steps"]) ** -powers
    return pd.DataFrame({"steps": of["steps"], "which": of["which"], "proven": line})
