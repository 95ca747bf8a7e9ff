"""The stability map: what a swept setting does to each strategy, value by value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from apps.report.charts.theme import ALARM, GREY, WIDTH, Figure, Layers, colours
from apps.report.model.formatting import fixed, label, settings_text, short
from apps.report.model.grids import Comparison
from apps.report.model.results import Metric
from apps.report.model.runs import UNCLIPPED
from apps.report.model.step_records import Records
from apps.report.statistics.pace import spikes_per_run
from apps.report.statistics.sweep import Range, by_value, medians, working_range

ROW, PANEL = 28, WIDTH // 2 - 60
_COLUMNS = ["strategy", "value", "score", "lost", "runs", "spikes"]


def stability_figure(
    swept: Comparison, axis: str, metric: Metric, records: Records, name: str
) -> Figure:
    """Test metric, lost runs and loss spikes over axis x strategy, beside the working ranges."""
    where = f", {settings_text(swept.settings)}" if swept.settings else ""
    cells = _cells(swept, axis, metric, records)
    panels = [_scores(cells, axis, metric), _ranges(swept, axis), _lost(cells, axis)]
    if cells["spikes"].notna().any():
        panels.append(_spikes(cells, axis))
    return Figure(
        name,
        f"Stability over {axis}{where}",
        "Test metric: medians over seeds, from the best (bright) to the worst, or to twice the "
        "best where the worst lies beyond; a cross where a run was lost. Working range: the widest "
        "unbroken range of values at which every run completed, its factor, and how much wider "
        "that is than the unclipped one (dashed). Loss spikes: steps whose loss is over seven "
        "standard deviations above the mean of the up to 1000 before.",
        alt.concat(*panels, columns=2, spacing=24).resolve_scale(
            color="independent", opacity="independent"
        ),
    )


def _cells(swept: Comparison, axis: str, metric: Metric, records: Records) -> pd.DataFrame:
    """One row for each strategy and value."""
    rows: list[tuple[object, ...]] = []
    for strategy in swept.strategies:
        scores = medians(swept.of(strategy), axis, metric)
        for value, runs in by_value(swept.of(strategy), axis).items():
            lost = sum(run.status != "completed" for run in runs)
            spikes = spikes_per_run(runs, records)
            rows.append((label(strategy), value, scores.get(value), lost, len(runs), spikes))
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    return frame.astype({"score": float, "spikes": float})


def _scores(cells: pd.DataFrame, axis: str, metric: Metric) -> Layers:
    losses = cells["score"].map(metric.loss, na_action="ignore")
    best = losses.min()
    # Beyond twice the best a score is as dark as can be, or one near divergence darkens the rest.
    worst = max(min(losses.max(), best + abs(best)), best + 1e-12)
    shade = ((losses - best) / (worst - best)).clip(upper=1)
    text = [fixed(score, metric.decimals) for score in cells["score"]]
    data = cells.assign(shade=shade, text=text)
    colour = alt.Color(
        "shade:Q", scale=alt.Scale(scheme="viridis", reverse=True, domain=[0, 1]), legend=None
    )
    whole, broken = "isValid(datum.score)", "!isValid(datum.score)"
    heat = _heat(data, axis).transform_filter(whole).encode(color=colour)
    words = _words(data, axis).transform_filter(whole)
    words = words.encode(
        color=alt.condition("datum.shade < 0.5", alt.value("#000"), alt.value("#fff"))
    )
    cross = _at(data, axis).mark_point(shape="cross", angle=45, size=70, filled=True)
    cross = cross.transform_filter(broken).encode(color=alt.value(ALARM))
    return _panel([heat, words, cross], f"{metric.label}, median")


def _lost(cells: pd.DataFrame, axis: str) -> Layers:
    parts = [f"{lost} of {runs}" if lost else "" for lost, runs in _pairs(cells)]
    data = cells.assign(share=cells["lost"] / cells["runs"], text=parts)
    tint = alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.04, 0.6]), legend=None)
    heat = _heat(data, axis).encode(color=alt.value(ALARM), opacity=tint)
    return _panel([heat, _words(data, axis)], "Runs diverged or failed")


def _pairs(cells: pd.DataFrame) -> list[tuple[int, int]]:
    return list(zip(cells["lost"], cells["runs"], strict=True))


def _spikes(cells: pd.DataFrame, axis: str) -> Layers:
    data = cells.assign(text=[short(mean) if mean > 0 else "" for mean in cells["spikes"]])
    most = max(1.0, float(data["spikes"].max()))
    scale = alt.Scale(type="sqrt", domain=[0, most], range=[0.04, 0.7])
    tint = alt.Opacity("spikes:Q", scale=scale, legend=None)
    heat = _heat(data, axis).transform_filter("isValid(datum.spikes)")
    heat = heat.encode(color=alt.value(GREY), opacity=tint)
    return _panel([heat, _words(data, axis)], "Loss spikes per run")


def _ranges(swept: Comparison, axis: str) -> Layers:
    """A bar from the lowest to the highest value of each strategy's working range."""
    found = {name: working_range(swept.of(name), axis) for name in swept.strategies}
    base = found.get(UNCLIPPED)
    rows = [
        (
            name,
            label(name),
            spread.low,
            spread.high,
            _reach(spread, base if name != UNCLIPPED else None),
        )
        for name, spread in found.items()
        if spread is not None
    ]
    data = pd.DataFrame(rows, columns=["name", "strategy", "low", "high", "text"])
    values = list(by_value(swept.runs, axis))
    logarithmic = min(values) > 0
    x = alt.X(
        "low:Q",
        title=axis,
        scale=alt.Scale(type="log" if logarithmic else "linear", padding=12, nice=False),
        axis=alt.Axis(format="~g", values=values, labelOverlap=True),
    )
    every = [label(name) for name in swept.strategies]
    y = alt.Y("strategy:N", sort=every, scale=alt.Scale(domain=every), title=None)
    chart = alt.Chart(data).encode(x=x, y=y)
    # An empty layer that holds every swept value, so that the axis shows the whole grid.
    grid = alt.Chart(pd.DataFrame({"low": values, "strategy": every[0]})).mark_point(opacity=0)
    colour = colours(swept.strategies).legend(None)
    layers = [
        grid.encode(x=x, y=y),
        chart.mark_bar(height=12, yOffset=4).encode(x2="high:Q", color=colour),
        chart.mark_tick(thickness=3, size=12, yOffset=4).encode(color=colour),
        chart.mark_text(align="left", dy=-8, dx=3, fontSize=10).encode(text="text:N"),
    ]
    if base is not None:
        ends = alt.Chart(pd.DataFrame({"low": [base.low, base.high]}))
        layers.append(ends.mark_rule(strokeDash=[4, 3], opacity=0.6).encode(x=x))
    return _panel(layers, "Working range")


def _reach(working: Range, base: Range | None) -> str:
    """A working range's factor, and how it compares with the unclipped one."""
    wider = working.wider_than(base) if base else None
    parts = [f"factor {short(working.factor)}"] if working.factor else []
    return ", ".join([*parts, *([f"{short(wider)} times unclipped"] if wider else [])])


def _at(data: pd.DataFrame, axis: str) -> alt.Chart:
    order = list(dict.fromkeys(data["strategy"]))
    return alt.Chart(data).encode(
        x=alt.X("value:O", title=axis, axis=alt.Axis(labelAngle=0, format="~g")),
        y=alt.Y("strategy:N", sort=order, title=None),
        tooltip=[
            "strategy:N",
            alt.Tooltip("value:Q", title=axis, format="~g"),
            alt.Tooltip("score:Q", format=".4~g"),
            "lost:Q",
            "runs:Q",
            alt.Tooltip("spikes:Q", format=".3~g", title="loss spikes per run"),
        ],
    )


def _heat(data: pd.DataFrame, axis: str) -> alt.Chart:
    heat: alt.Chart = _at(data, axis).mark_rect()
    return heat


def _words(data: pd.DataFrame, axis: str) -> alt.Chart:
    words: alt.Chart = _at(data, axis).mark_text(fontSize=11).encode(text="text:N")
    return words


def _panel(layers: Sequence[Any], title: str) -> Layers:
    chart = alt.layer(*layers).properties(width=PANEL, height=alt.Step(ROW))
    return chart.properties(title=title)
