"""The chart of a sweep: the primary metric over the swept values, and where runs diverged."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import altair as alt
import pandas as pd

from apps.report.charts.theme import FEW_TICKS, WIDTH, Figure, Layers, colours, scale_for, title
from apps.report.model.formatting import label, settings_text
from apps.report.model.grids import Comparison
from apps.report.model.results import Metric
from apps.report.model.runs import Run
from apps.report.statistics.sweep import by_value, medians

HEIGHT, ROW = 290, 18  # of the whole, of a strategy's row in the band of what diverged
_ALARM = "#d55e00"


def sweep_figure(swept: Comparison, axis: str, metric: Metric, name: str) -> Figure:
    """The primary metric over the swept values, with a band for the runs that diverged."""
    groups = {strategy: swept.of(strategy) for strategy in swept.strategies}
    where = f", {settings_text(swept.settings)}" if swept.settings else ""
    return Figure(
        name,
        f"{metric.label} over {axis}{where}",
        "Points are runs, lines join the medians of the values at which every run completed. "
        "Crosses in the tinted band count the runs that diverged or failed, in a row for each "
        "strategy.",
        _layers(groups, metric, axis),
    )


def _layers(groups: dict[str, list[Run]], metric: Metric, axis: str) -> Layers:
    points, lines, lost = (
        _points(groups, axis, metric),
        _lines(groups, axis, metric),
        _lost(groups, axis),
    )
    order = [label(name) for name in groups]
    bottom = metric.direction == "max"
    narrow = alt.Scale(paddingInner=0.75, paddingOuter=0.4)  # the strategies of a value together
    ticks = alt.Axis(labelAngle=0, format="~g", grid=False)
    x = alt.X("value:O", title=axis, axis=ticks, scale=narrow)
    offset = alt.XOffset("strategy:N", sort=order)
    place: dict[str, Any] = {"x": x, "xOffset": offset, "color": colours(list(groups))}
    rows = list(lost["strategy"].unique())
    band, height = ROW * len(rows), HEIGHT + ROW * max(0, len(rows) - 1)
    scale = _with_room(points["score"], band / height, bottom=bottom)
    y = alt.Y("score:Q", title=title(metric), scale=scale, axis=FEW_TICKS)
    tip = ["strategy:N", "value:Q", "seed:Q", alt.Tooltip("score:Q", format=".4~g")]
    layers = [
        alt.Chart(lines).mark_line(strokeWidth=2).encode(y=y, **place),
        alt.Chart(points).mark_circle(size=45, opacity=0.7).encode(y=y, tooltip=tip, **place),
    ]
    if rows:
        top = height - band if bottom else 0
        layers = [_band(top, band), *layers]
        for number, name in enumerate(rows):
            middle = top + (number + 0.5) * ROW
            layers += _crosses(lost[lost["strategy"] == name], place, middle)
    return alt.layer(*layers).properties(width=WIDTH, height=height)


def _points(groups: dict[str, list[Run]], axis: str, metric: Metric) -> pd.DataFrame:
    rows = [
        (label(name), run.settings.get(axis), run.seed, run.score(metric.name))
        for name, runs in groups.items()
        for run in runs
    ]
    frame = pd.DataFrame(rows, columns=["strategy", "value", "seed", "score"])
    return frame.astype({"score": float}).dropna(subset=["score"])


def _lines(groups: dict[str, list[Run]], axis: str, metric: Metric) -> pd.DataFrame:
    rows = [
        (label(name), value, score)
        for name, runs in groups.items()
        for value, score in medians(runs, axis, metric).items()
    ]
    return pd.DataFrame(rows, columns=["strategy", "value", "score"])


def _lost(groups: dict[str, list[Run]], axis: str) -> pd.DataFrame:
    rows = [
        (label(name), value, f"{lost} of {len(runs)}")
        for name, group in groups.items()
        for value, runs in by_value(group, axis).items()
        if (lost := sum(run.status != "completed" for run in runs))
    ]
    return pd.DataFrame(rows, columns=["strategy", "value", "lost"])


# The band lies at the metric's bad end, so that a cross never looks like a good score.
def _band(top: float, height: float) -> Layers:
    box = alt.Chart(pd.DataFrame({"text": ["diverged"]}))
    tint = box.mark_rect(color=_ALARM, opacity=0.1)
    word = box.mark_text(align="left", fontSize=11, color=_ALARM)
    return alt.layer(
        tint.encode(y=alt.value(top), y2=alt.value(top + height)),
        word.encode(x=alt.value(6), y=alt.value(top + ROW / 2), text="text:N"),
    )


def _crosses(lost: pd.DataFrame, place: dict[str, Any], middle: float) -> Sequence[alt.Chart]:
    base = alt.Chart(lost).encode(
        y=alt.value(middle), tooltip=["strategy:N", "value:Q", "lost:N"], **place
    )
    cross = base.mark_point(shape="cross", angle=45, size=80, filled=True, opacity=1)
    number = base.mark_text(align="left", dx=8, fontSize=11).encode(text="lost:N")
    return [cross, number]


def _with_room(scores: pd.Series[float], band: float, *, bottom: bool) -> alt.Scale:
    """The scores' scale with a margin; band: share of the height that the band takes."""
    given = scale_for(scores).to_dict()
    if scores.empty:
        return alt.Scale(**given)
    there, back = _spaces(given.get("constant", 1.0))[given.get("type", "linear")]
    low, high = there(float(scores.min())), there(float(scores.max()))
    span = high - low or abs(high) or 1.0
    wide = 0.04 + 1.08 * band / (1 - band)
    below, above = (wide, 0.04) if bottom else (0.04, wide)
    domain = [back(low - below * span), back(high + above * span)]
    return alt.Scale(**{**given, "domain": domain, "nice": False})


def _spaces(
    constant: float,
) -> dict[str, tuple[Callable[[float], float], Callable[[float], float]]]:
    """Where a scale of each type is linear, and the way back."""
    return {
        "linear": (float, float),
        "log": (math.log, math.exp),
        "symlog": (
            lambda x: math.copysign(math.log1p(abs(x) / constant), x),
            lambda x: math.copysign(constant * math.expm1(abs(x)), x),
        ),
    }
