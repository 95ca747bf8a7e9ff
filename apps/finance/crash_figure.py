"""The days of training whose batches were clipped most, as a picture."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

from apps.finance.crash import step_batches
from apps.finance.data import PanelData
from apps.finance.panel import Floats
from apps.report.charts.theme import WIDTH, Figure
from apps.report.model.formatting import label
from apps.report.model.runs import UNCLIPPED
from apps.report.model.step_records import Records

MARKED = 8  # days at most
OUTLYING = 4.0  # standard deviations above the mean


def training_figures(data: PanelData, records: Records) -> Sequence[Figure]:
    """The returns of the training days, coloured by the gradient norm of their batches.

    None for a walk forward: each of its trainings has batches of its own.
    """
    if len(data.block_rows()):
        return []
    steps = records.steps[records.steps["status"] != "failed"]
    names = [name for name in dict.fromkeys(steps["clipping"]) if name != UNCLIPPED]
    shown = next(iter(names), UNCLIPPED)
    runs = steps[steps["clipping"] == shown]
    if runs.empty:
        return []
    mine = runs[runs["seed"] == runs["seed"].iloc[0]]
    table = _days(data, mine)
    return [_figure(data, table, shown)] if len(table) else []


def _days(data: PanelData, steps: pd.DataFrame) -> pd.DataFrame:
    """Each training day's return, and the mean over its batches of norm and share cut away."""
    batches = step_batches(data, steps["epoch"])
    count = len(data.panel.dates)
    norms, cuts, seen = np.zeros(count), np.zeros(count), np.zeros(count)
    for step, norm, coefficient in zip(
        steps["step"].astype(int), steps["norm"], steps["coefficient"], strict=True
    ):
        if not np.isfinite(norm):
            continue
        rows = np.unique(batches(step)[0])
        norms[rows] += norm
        cuts[rows] += 1.0 - np.nan_to_num(coefficient, nan=1.0)
        seen[rows] += 1
    rows = np.flatnonzero(seen)
    return pd.DataFrame(
        {
            "date": data.panel.dates[rows + data.horizon],
            "move": _largest(data)[rows],
            "norm": norms[rows] / seen[rows],
            "cut": 100.0 * cuts[rows] / seen[rows],
        }
    )


def _largest(data: PanelData) -> Floats:
    """The return after each day, of the asset that moved most."""
    target, _ = data.panel.targets(data.horizon)
    known = np.nan_to_num(target)
    chosen: Floats = known[np.arange(len(known)), np.abs(known).argmax(axis=1)]
    return chosen


def _figure(data: PanelData, table: pd.DataFrame, shown: str) -> Figure:
    clipped = bool((table["cut"] > 0).any())
    by, unit = ("cut", "cut away, %") if clipped else ("norm", "gradient norm")
    outlying = table[by] > table[by].mean() + OUTLYING * table[by].std()
    top = table[outlying].nlargest(MARKED, by)
    x = alt.X("date:T", title=None, axis=alt.Axis(tickCount=10))
    y = alt.Y("move:Q", title="return, %", axis=alt.Axis(tickCount=6))
    colour = alt.Color(
        f"{by}:Q", title=unit, scale=alt.Scale(scheme="yelloworangered"), legend=alt.Legend()
    )
    dots = alt.Chart(table).mark_circle(size=12, opacity=0.8).encode(x, y, colour)
    marks = alt.Chart(top).mark_circle(size=70, stroke="#2b3038", strokeWidth=1)
    texts = alt.Chart(top.assign(text=top["date"].dt.strftime("%Y-%m-%d")))
    named = texts.mark_text(align="left", dx=8, fontSize=10).encode(x, y, text="text:N")
    what = (
        f"coloured by how much of their batches' gradients {label(shown)} cut away"
        if clipped
        else f"coloured by their batches' gradient norm, of which {label(shown)} cut none away"
    )
    which = "" if len(data.panel.assets) == 1 else " (the asset that moved most)"
    return Figure(
        "clipped_days",
        "The days behind the gradients",
        f"Returns of the training days{which}, {what} (mean over the epochs, first seed). The "
        f"ones over {OUTLYING:g} standard deviations above the mean are named, {MARKED} at most: a "
        "day stands out where its own return drives the gradient.",
        alt.layer(dots, marks.encode(x, y, colour), named).properties(width=WIDTH, height=280),
    )
