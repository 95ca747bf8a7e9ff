"""Pictures of how reliable forecasts are, and of what they gain on the baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from apps.finance.accuracy_tests import LOSSES
from apps.finance.backtests import diebold_mariano
from apps.finance.baselines import BASELINES
from apps.finance.forecast import LEVELS, Forecast
from apps.finance.panel import Floats
from apps.report.charts.theme import GREY, WIDTH, Figure, Layers, colours
from apps.report.model.formatting import label

CONSTANT = "historical_simulation"  # so far behind on QLIKE that it would squeeze the rest
_IN_A_ROW = 6


def pit_figure(forecasts: Mapping[str, Forecast], names: Sequence[str]) -> Figure:
    """Shares of the returns between neighbouring quantiles, against their levels."""
    edges = [0.0, *(level for level in LEVELS if 0.01 < level < 0.99), 1.0]
    parts = [_shares(forecasts[name], edges).assign(strategy=label(name)) for name in names]
    table = pd.concat(parts)
    bars = (
        alt.Chart()
        .mark_rect(opacity=0.85, stroke="white", strokeWidth=0.5)
        .encode(
            alt.X("low:Q", title=None, axis=alt.Axis(tickCount=2, format="~g")),
            alt.X2("high:Q"),
            alt.Y("share:Q", title="times expected", axis=alt.Axis(tickCount=4)),
            alt.Y2("floor:Q"),
            colours(names).legend(None),
        )
    )
    even = alt.Chart().mark_rule(strokeDash=[4, 3]).encode(y=alt.datum(1.0))
    columns = min(len(names), _IN_A_ROW)
    facet = alt.Facet("strategy:N", title=None, sort=[label(name) for name in names])
    return Figure(
        "pit",
        "Reliability of the distribution",
        "Where the return fell in the distribution forecast for it (PIT), from the lowest "
        "twentieth to the highest: a well calibrated forecast fills all alike, a hump in the "
        "middle means too wide, raised ends too narrow. First seed, all assets.",
        alt.layer(bars, even, data=table)
        .properties(width=(WIDTH - 26 * columns) // columns, height=150)
        .facet(facet=facet, columns=columns, spacing=18),
    )


def _shares(forecast: Forecast, edges: list[float]) -> pd.DataFrame:
    """Share of returns in each bin, in units of what is expected."""
    below = [float((forecast.truth <= forecast.quantile(u)).mean()) for u in edges[1:-1]]
    shares = np.diff([0.0, *below, 1.0]) / np.diff(edges)
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "share": shares, "floor": 0.0})


def tests_figure(forecasts: Mapping[str, Forecast], trained: Sequence[str], horizon: int) -> Figure:
    """Differences of QLIKE and of the FZ loss to each baseline, with Diebold-Mariano tests."""
    losses = {
        loss: {name: daily(forecast) for name, forecast in forecasts.items()}
        for loss, daily in LOSSES.items()
    }
    rivals = [name for name in forecasts if name in BASELINES and name != CONSTANT]
    panels = [
        _differences(name, of, trained, rivals, horizon, heads=number == 0)
        for number, (name, of) in enumerate(losses.items())
    ]
    return Figure(
        "diebold_mariano",
        "Against each baseline",
        "Mean difference of the loss to each baseline over the test days (first seed), with its "
        "95 % interval and the p-value of the Diebold-Mariano test (Newey-West errors); to the "
        "left of zero the network is better. FZ 1 % is the joint loss of VaR and expected "
        f"shortfall. {CONSTANT}, far behind, is left out.",
        alt.hconcat(*panels, spacing=70),
    )


def _differences(
    name: str,
    losses: Mapping[str, Floats],
    trained: Sequence[str],
    rivals: Sequence[str],
    horizon: int,
    heads: bool,
) -> Layers:
    """Intervals of one loss, a row of the picture for each baseline."""
    pairs = [(ours, rival) for ours in trained for rival in rivals]
    table = pd.DataFrame([_tested(losses, ours, rival, horizon) for ours, rival in pairs])
    width = (WIDTH - 190) // 2
    y = alt.Y("strategy:N", title=None, sort=[label(one) for one in trained])
    if not heads:
        y = y.axis(None)
    base = alt.Chart().encode(y=y, color=colours(trained).legend(None))
    x = alt.X("low:Q", title=f"difference of {name}", axis=alt.Axis(tickCount=5))
    bars = base.mark_rule(strokeWidth=2).encode(x, x2="high:Q")
    points = base.mark_circle(size=60, opacity=1).encode(x="mean:Q")
    texts = base.mark_text(align="left", fontSize=10).encode(
        x=alt.value(width + 8), text="p:N", color=alt.value(GREY)
    )
    zero = alt.Chart().mark_rule(strokeDash=[4, 3]).encode(x=alt.datum(0.0))
    header = alt.Header(labelOrient="top", labelAnchor="start", labelPadding=2)
    return (
        alt.layer(zero, bars, points, texts, data=table)
        .properties(width=width, height=18 * len(trained) + 4)
        .facet(row=alt.Row("baseline:N", title=None, sort=list(rivals), header=header), spacing=8)
    )


def _tested(losses: Mapping[str, Floats], ours: str, rival: str, horizon: int) -> dict[str, Any]:
    mean, error, p = diebold_mariano(losses[ours], losses[rival], horizon)
    return {
        "strategy": label(ours),
        "baseline": rival,
        "mean": mean,
        "low": mean - 1.96 * error,
        "high": mean + 1.96 * error,
        "p": "p < 0.001" if p < 0.001 else f"p = {p:.3f}",
    }
