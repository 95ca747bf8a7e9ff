"""Colours and chart style, and charts turned into specifications and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import vl_convert

from apps.report.model.formatting import label
from apps.report.model.results import Metric
from apps.report.model.runs import UNCLIPPED

GREY, ALARM = "#868d97", "#d55e00"
# Okabe and Ito's colour-blind-safe colours that read on white and on near black.
PALETTE = ("#0a84c6", "#e08a00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8f6bd1", "#a07c2c")
FONT = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif"
WIDTH = 760
FEW_TICKS = alt.Axis(tickCount=6)
Layers = alt.LayerChart | alt.FacetChart
KEYS = {"symbolOpacity": 1, "symbolStrokeWidth": 3}


@dataclass(frozen=True)
class Figure:
    """A chart of an application: `name` is its picture's file stem.

    animation: a GIF of the same, where there is one.
    """

    name: str
    title: str
    caption: str
    chart: alt.TopLevelMixin
    animation: bytes | None = None


def colours(strategies: Sequence[str]) -> alt.Color:
    """One stable colour per strategy, grey for the unclipped runs."""
    others = [name for name in strategies if name != UNCLIPPED]
    of = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(others)} | {UNCLIPPED: GREY}
    names = [label(name) for name in strategies]
    scale = alt.Scale(domain=names, range=[of[name] for name in strategies])
    return alt.Color("strategy:N", scale=scale, title=None)


def config(ink: str) -> dict[str, Any]:
    """Vega-Lite's style with one colour for all text and lines that are not data."""
    grid = {"gridColor": ink, "gridOpacity": 0.12, "domainColor": ink, "domainOpacity": 0.4}
    ticks = {"tickColor": ink, "tickOpacity": 0.4, "labelColor": ink, "titleColor": ink}
    text = {"labelColor": ink, "titleColor": ink, "labelFontSize": 11, "titleFontSize": 12}
    return {
        "font": FONT,
        "view": {"stroke": None},
        "axis": {**grid, **ticks, **text, "titleFontWeight": "normal", "labelOpacity": 0.8},
        "legend": {**text, "orient": "top", "titleFontWeight": "normal", "labelLimit": 240, **KEYS},
        "header": {**text, "labelAnchor": "start", "labelFontWeight": 600, "labelLimit": 0},
        "title": {"color": ink, "subtitleColor": ink, "anchor": "start", "fontSize": 12},
        "text": {"color": ink},
        "rule": {"color": ink},
        "range": {"category": list(PALETTE)},
    }


# Values that span more than this read better on a logarithmic axis.
_WIDE = 30.0


def scale_for(values: pd.Series[float]) -> alt.Scale:
    """A linear, logarithmic or symmetric-logarithmic scale, whichever shows the values."""
    finite = values[np.isfinite(values)]
    if finite.empty:
        return alt.Scale()
    low, high = float(finite.min()), float(finite.max())
    if low > 0 and high / low > _WIDE:
        return alt.Scale(type="log")
    typical = float(finite.abs().median())
    if low <= 0 and max(-low, high) > 1000 * max(typical, 1e-12):
        return alt.Scale(type="symlog", constant=max(typical, 1e-12))
    return alt.Scale(zero=False)


def inset(values: pd.Series[float]) -> alt.Scale:
    """The same scale with a margin inside the axis, so that no point is cut."""
    return alt.Scale(**{**scale_for(values).to_dict(), "padding": 14, "nice": False})


def title(metric: Metric) -> str:
    """A metric's axis title."""
    return f"{metric.label} ({metric.unit})" if metric.unit else metric.label


def specification(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """The chart as a Vega-Lite specification that carries its data."""
    with alt.data_transformers.enable("default", max_rows=None):
        spec: dict[str, Any] = chart.to_dict()
    # Named by the embedding page instead; its address would look like a network resource.
    spec.pop("$schema", None)
    spec["background"] = "transparent"
    return spec


def interactive(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """The chart's specification with continuous axes that follow drag, and Ctrl with the wheel."""
    spec = specification(chart)
    for number, plot in enumerate(_plots(spec)):
        layers = [layer for layer in plot if _continuous(layer)]
        if layers:
            select = {"type": "interval", "encodings": _continuous(layers[0]), "zoom": _ZOOM}
            zoom = {"name": f"zoom_{number}", "select": select, "bind": "scales"}
            layers[0]["params"] = [*layers[0].get("params", []), zoom]
    return spec


# The wheel alone scrolls the page.
_ZOOM = "wheel![event.ctrlKey || event.metaKey]"


def _plots(spec: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """The layers of each plot in a specification."""
    if "spec" in spec:
        yield from _plots(spec["spec"])
    elif "layer" in spec:
        yield [layer for part in spec["layer"] for plot in _plots(part) for layer in plot]
    elif "mark" in spec:
        yield [spec]
    for key in ("hconcat", "vconcat", "concat"):
        for part in spec.get(key, []):
            yield from _plots(part)


def _continuous(view: dict[str, Any]) -> list[str]:
    """Those of a plot's axes that a zoom can change."""
    axes = {name: view.get("encoding", {}).get(name, {}) for name in ("x", "y")}
    kinds = ("quantitative", "temporal")
    return [n for n, axis in axes.items() if axis.get("type") in kinds and not axis.get("bin")]


def png(spec: dict[str, Any]) -> bytes:
    """The specification as a picture on white, at twice the size."""
    return vl_convert.vegalite_to_png(_on_white(spec), scale=2, config=config("#2b3038"))


def svg(spec: dict[str, Any]) -> str:
    """The specification as a vector picture on white."""
    return vl_convert.vegalite_to_svg(_on_white(spec), config=config("#2b3038"))


def _on_white(spec: dict[str, Any]) -> dict[str, Any]:
    return {**spec, "background": "white", "padding": 12}
