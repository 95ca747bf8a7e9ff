"""The charts of test scores and of the learning curves."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from apps.report.charts.theme import (
    FEW_TICKS,
    GREY,
    WIDTH,
    Figure,
    Layers,
    colours,
    inset,
    scale_for,
    title,
)
from apps.report.model.formatting import fixed, label
from apps.report.model.grids import Comparison
from apps.report.model.results import Metric, Results
from apps.report.model.step_records import Records
from apps.report.statistics.summaries import scores

_LEAST_ROOM = 0.02  # to each side of the mean of the runs, as a share of it


def scores_figure(results: Results, compared: Comparison) -> Figure | None:
    """Every seed's test score beside the classical baselines."""
    metric, rows = results.primary, []
    names = compared.strategies
    for name in names:
        for run in compared.of(name):
            rows.append(_point(label(name), "seed", run.score(metric.name), run.seed))
        rows.append(_point(label(name), "mean", scores(compared.of(name), metric).mean))
    for name, row in results.baselines.items():
        rows.append(_point(name, "baseline", row.get(metric.name)))
    data = pd.DataFrame(rows).astype({"score": float}).dropna(subset=["score"])
    if data.empty:
        return None
    low, high = axis_range(data)
    data = data.assign(
        drawn=data["score"].clip(low, high), text=[fixed(v, metric.decimals) for v in data["score"]]
    )
    return Figure(
        "scores",
        f"{metric.label} on the test split",
        "Points are seeds, the tick is their mean, diamonds are classical baselines (at the edge "
        "where their score lies beyond it).",
        _score_layers(data, metric, names).properties(
            width=WIDTH, height=30 * data["strategy"].nunique()
        ),
    )


def _point(
    strategy: str, kind: str, score: float | None, seed: int | None = None
) -> dict[str, Any]:
    return {"strategy": strategy, "kind": kind, "score": score, "seed": seed}


def axis_range(data: pd.DataFrame) -> tuple[float, float]:
    """The axis range.

    A far baseline must not squeeze the seeds into one point, and an axis of less than 4 % of the
    scores would make differences look large that are none.
    """
    runs = data.loc[data["kind"] != "baseline", "score"]
    if runs.empty:
        return float(data["score"].min()), float(data["score"].max())
    near = (data["score"] - runs.mean()).abs().nsmallest(len(runs) + 1).max()
    centre = float(runs.mean())
    room = max(1.6 * float(near), _LEAST_ROOM * abs(centre), 1e-9)
    return max(float(data["score"].min()), centre - room), min(
        float(data["score"].max()), centre + room
    )


def _score_layers(data: pd.DataFrame, metric: Metric, names: list[str]) -> Layers:
    colour = colours(names).legend(None)
    # A number in the right half stands left of its diamond: a phone has no room at the right edge.
    side = f"datum.drawn > {float(data['drawn'].min() + data['drawn'].max()) / 2}"
    base = alt.Chart(data).encode(
        x=alt.X("drawn:Q", title=title(metric), scale=inset(data["drawn"]), axis=FEW_TICKS),
        y=alt.Y("strategy:N", sort=list(dict.fromkeys(data["strategy"])), title=None),
        tooltip=["strategy:N", "kind:N", "seed:Q", alt.Tooltip("score:Q", format=".4~g")],
    )
    seeds = base.transform_filter("datum.kind == 'seed'").mark_circle(size=70, opacity=0.75)
    means = base.transform_filter("datum.kind == 'mean'").mark_tick(thickness=2.5, size=22)
    layers = [seeds.encode(color=colour), means.encode(color=colour)]
    if (data["kind"] == "baseline").any():
        rivals = base.transform_filter("datum.kind == 'baseline'")
        layers += [
            rivals.mark_point(shape="diamond", size=70, filled=True, color=GREY),
            rivals.mark_text(
                align=alt.expr(f"{side} ? 'right' : 'left'"),
                dx=alt.expr(f"{side} ? -9 : 9"),
                fontSize=11,
            ).encode(text="text:N"),
        ]
    return alt.layer(*layers)


def learning_figure(compared: Comparison, records: Records) -> Figure | None:
    """Training and validation loss against the optimizer step."""
    epochs = records.epochs
    if epochs.empty or epochs[["train_loss", "val_loss"]].isna().all(axis=None):
        return None
    strategies = [name for name in compared.strategies if (epochs["clipping"] == name).any()]
    panels = [
        _losses(epochs, column, name, strategies)
        for column, name in (("train_loss", "Training loss"), ("val_loss", "Validation loss"))
        if epochs[column].notna().any()
    ]
    return Figure(
        "learning_curves",
        "Learning curves",
        "Thin lines are seeds, thick lines the mean of the completed ones as far as all of them "
        "go. A cross is the end of a diverged run; losses above those of the completed runs are "
        "drawn at the upper edge.",
        alt.hconcat(*panels, spacing=30),
    )


def _losses(epochs: pd.DataFrame, column: str, name: str, strategies: list[str]) -> Layers:
    columns = ["clipping", "seed", "status", "step", column]
    data = epochs[columns].rename(columns={column: "loss"})
    data = data[np.isfinite(data["loss"])]
    data = data.sort_values("clipping", key=lambda c: c.map(strategies.index), kind="stable")
    data = data.assign(strategy=data["clipping"].map(label), drawn=_below_blowup(data))
    ends = data[data["status"] == "diverged"].groupby(["clipping", "seed"]).tail(1)
    common: dict[str, Any] = {
        "x": alt.X("step:Q", title="optimizer step", axis=alt.Axis(format=",d", tickCount=6)),
        "y": alt.Y("drawn:Q", title=name, scale=scale_for(data["drawn"]), axis=FEW_TICKS),
        "color": colours(strategies),
        "tooltip": ["strategy:N", "step:Q", alt.Tooltip("loss:Q", format=".4~g")],
    }
    # Where a strategy equals the unclipped runs, the grey shows on both sides of its line.
    width = alt.condition("datum.strategy == 'unclipped'", alt.value(4.5), alt.value(2))
    thin = alt.Chart(data).mark_line(opacity=0.4, strokeWidth=1).encode(detail="seed:N", **common)
    thick = alt.Chart(_means(data)).mark_line().encode(strokeWidth=width, **common)
    layers = [thin, thick]
    if not ends.empty:
        cross = alt.Chart(ends).mark_point(shape="cross", angle=45, size=90, filled=True)
        layers.append(cross.encode(**common))
    return alt.layer(*layers).properties(width=WIDTH // 2 - 55, height=260)


def _below_blowup(data: pd.DataFrame) -> pd.Series[float]:
    """The losses cut at the largest of a completed run, so that its curve keeps its shape."""
    done = data.loc[data["status"] == "completed", "loss"]
    return data["loss"].clip(upper=None if done.empty else float(done.max()))


def _means(data: pd.DataFrame) -> pd.DataFrame:
    """Mean over completed seeds at the steps that all of them have."""
    done = data[data["status"] == "completed"]
    seeds = done.groupby("strategy")["seed"].transform("nunique")
    points = done.assign(seeds=seeds).groupby(["strategy", "step"], as_index=False, sort=False)
    means = points.agg(loss=("loss", "mean"), n=("loss", "size"), seeds=("seeds", "first"))
    means = means.assign(drawn=means["loss"])
    return means[means["n"] == means["seeds"]]
