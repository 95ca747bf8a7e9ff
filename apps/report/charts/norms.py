"""The charts of gradient norms: their distribution and their course."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from apps.report.charts.theme import GREY, WIDTH, Figure, colours
from apps.report.model.formatting import label, percent, several
from apps.report.model.grids import Comparison
from apps.report.model.step_records import Records
from apps.report.statistics.summaries import clip_rate

NUM_BINS = 70
NUM_STRETCHES = 240
PERCENT = alt.Axis(format="~%", tickCount=3)


def norm_figures(compared: Comparison, records: Records) -> list[Figure]:
    """Both charts, or none where no finite positive norm was recorded."""
    steps = records.steps
    norms = steps["norm"].to_numpy(float)
    if not (np.isfinite(norms) & (norms > 0)).any():
        return []
    names = [name for name in compared.strategies if (steps["clipping"] == name).any()]
    panels = {name: _panel(compared, records, name) for name in names}
    return [_distribution(records, panels), _course(records, panels)]


def _panel(compared: Comparison, records: Records, name: str) -> str:
    """A strategy's heading in two lines: its name; how often it clipped, and at what."""
    rate, bound = clip_rate(compared.of(name)), records.bound(name)
    norms = records.steps.loc[records.steps["clipping"] == name, "norm"].to_numpy(float)
    lost = int((~np.isfinite(norms)).sum())
    first = f"{label(name)}, {several(lost, 'step')} non-finite" if lost else label(name)
    if bound is None:
        return f"{first}\nno threshold"
    return f"{first}\n{bound}" if rate is None else f"{first}\n{percent(rate)} clipped, {bound}"


def _distribution(records: Records, panels: dict[str, str]) -> Figure:
    norms = records.steps["norm"].to_numpy(float)
    logs = np.log10(norms[np.isfinite(norms) & (norms > 0)])
    edges = np.linspace(logs.min() - 0.05, logs.max() + 0.05, NUM_BINS + 1)
    data = pd.concat([_histogram(records, n, panel, edges) for n, panel in panels.items()])
    x = alt.X(
        "low:Q", scale=alt.Scale(type="log", nice=False), title="gradient norm before clipping"
    )
    x = x.axis(format="~g", values=ticks(edges[0], edges[-1]), labelOverlap=True)
    base = alt.Chart().encode(color=colours(list(panels)).legend(None))
    bars = (
        base.transform_filter("isValid(datum.share)")
        .mark_rect(opacity=0.8)
        .encode(
            x=x,
            x2="high:Q",
            y=alt.Y("share:Q", title=None, scale=alt.Scale(type="sqrt"), axis=PERCENT),
            y2="floor:Q",
            tooltip=[
                alt.Tooltip("low:Q", format=".3~g", title="from"),
                alt.Tooltip("high:Q", format=".3~g", title="to"),
                alt.Tooltip("share:Q", format=".2%", title="share of steps"),
            ],
        )
    )
    ruled = alt.Chart().transform_filter("isValid(datum.threshold)")
    band = ruled.mark_rect(opacity=0.2, color=GREY).encode(x=alt.X("lower:Q"), x2="upper:Q")
    rule = ruled.mark_rule(strokeDash=[5, 3], strokeWidth=1.5).encode(x="threshold:Q")
    layers = alt.layer(band, bars, rule, data=data).properties(width=WIDTH, height=76)
    return Figure(
        "norm_distribution",
        "Distribution of the gradient norm",
        "Share of steps per norm, over all seeds, before clipping; the square-root axis keeps "
        "rare spikes visible. The dashed line is the threshold; where it adapts, the line is "
        "its median and the tint its range.",
        layers.facet(facet=_facet(panels), columns=1, spacing=14),
    )


def ticks(low: float, high: float) -> list[float]:
    """Powers of ten, and twice and five times them where there are few."""
    steps = (1, 2, 5) if high - low < 2.5 else (1,)
    decades = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    return [float(f"{step}e{decade}") for decade in decades for step in steps]


def _facet(panels: dict[str, str]) -> alt.Facet:
    header = alt.Header(labelExpr="split(datum.value, '\\n')", labelFontWeight="normal")
    return alt.Facet("panel:N", title=None, sort=list(panels.values()), header=header)


def _histogram(records: Records, name: str, panel: str, edges: np.ndarray) -> pd.DataFrame:
    norms = records.steps.loc[records.steps["clipping"] == name, "norm"].to_numpy(float)
    positive = norms[np.isfinite(norms) & (norms > 0)]
    counts, _ = np.histogram(np.log10(positive), edges)
    bars = pd.DataFrame(
        {"low": 10 ** edges[:-1], "high": 10 ** edges[1:], "share": counts / max(norms.size, 1)}
    )
    bars = rounded(bars[bars["share"] > 0]).assign(floor=0.0)
    bound = records.bound(name)
    if bound is not None and bound.median > 0:
        # The range is drawn inside the norms' own range, or it would stretch the axis.
        low, high = np.clip([bound.low, bound.high], 10 ** edges[0], 10 ** edges[-1])
        rule = {"threshold": bound.median, "lower": low, "upper": high}
        bars = pd.concat([bars, rounded(pd.DataFrame([rule]))], ignore_index=True)
    return bars.assign(panel=panel, strategy=label(name))


def _course(records: Records, panels: dict[str, str]) -> Figure:
    data = pd.concat([_stretches(records, name, panel) for name, panel in panels.items()])
    shown = np.log10(data[["median", "highest", "threshold"]].to_numpy(float))
    powers = ticks(np.nanmin(shown), np.nanmax(shown))
    x = alt.X("step:Q", title="optimizer step", axis=alt.Axis(format=",d", tickCount=6))
    y = alt.Y("median:Q", scale=alt.Scale(type="log", nice=False), title="gradient norm")
    y = y.axis(format="~g", values=powers, labelOverlap=True)
    base = alt.Chart().encode(x=x, color=colours(list(panels)).legend(None))
    finite = base.transform_filter("isValid(datum.median)").encode(
        y=y, tooltip=["step:Q", "median:Q", "highest:Q", "threshold:Q", "lost:Q"]
    )
    peaks = finite.mark_area(opacity=0.3).encode(y2="highest:Q")
    middle = finite.mark_line(strokeWidth=1.3)
    limit = (
        alt.Chart()
        .transform_filter("isValid(datum.threshold)")
        .mark_line(strokeDash=[5, 3], strokeWidth=1.3, interpolate="step-after")
        .encode(x=x, y="threshold:Q", color=alt.value(GREY))
    )
    marks: list[alt.Chart] = [peaks, middle, limit]
    if (data["lost"] > 0).any():
        cross = base.mark_point(shape="cross", angle=45, size=36, filled=True)
        cross = cross.transform_filter("datum.lost > 0").encode(
            y=alt.value(6), color=alt.value("#d55e00"), tooltip=["step:Q", "lost:Q"]
        )
        marks.append(cross)
    layers = alt.layer(*marks, data=data)
    width, height = WIDTH // 2 - 55, 170
    return Figure(
        "norm_course",
        "Gradient norm over training",
        f"Steps are drawn in at most {NUM_STRETCHES} stretches over all seeds: the line is the "
        "median, the tint reaches up to the highest norm, so no spike is lost. Dashed: the "
        "threshold. Crosses at the top: steps with a non-finite norm.",
        layers.properties(width=width, height=height).facet(
            facet=_facet(panels), columns=2, spacing=24
        ),
    )


def _stretches(records: Records, name: str, panel: str) -> pd.DataFrame:
    """Median and highest norm, and median threshold, of each stretch of steps."""
    steps = records.steps[records.steps["clipping"] == name]
    last = float(records.steps["step"].max())
    width = max(1, int(np.ceil((last + 1) / NUM_STRETCHES)))
    norm = steps["norm"].where(np.isfinite(steps["norm"]) & (steps["norm"] > 0))
    threshold = steps["threshold"].where(np.isfinite(steps["threshold"]) & (steps["threshold"] > 0))
    table = pd.DataFrame(
        {
            "step": (steps["step"] // width) * width,
            "norm": norm,
            "threshold": threshold,
            "lost": ~np.isfinite(steps["norm"]),
        }
    )
    stretches = table.groupby("step", as_index=False).agg(
        median=("norm", "median"),
        highest=("norm", "max"),
        threshold=("threshold", "median"),
        lost=("lost", "sum"),
    )
    return rounded(stretches).assign(panel=panel, strategy=label(name))


def rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """Floats with five significant digits, which keeps the embedded data small."""
    numbers = frame.select_dtypes("float").columns
    text = {column: frame[column].map(lambda v: float(f"{v:.5g}")) for column in numbers}
    return frame.assign(**text)
