"""The chart of the front page: what each strategy gains on each application."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from apps.report.charts.theme import FEW_TICKS, WIDTH, Figure, colours
from apps.report.model.formatting import label
from apps.report.model.results import Results
from apps.report.model.runs import UNCLIPPED
from apps.report.statistics.inference import Interval
from apps.report.statistics.pairing import against_unclipped
from apps.report.statistics.summaries import scores


def gains_figure(results: Sequence[Results]) -> Figure | None:
    """The relative gain on unclipped training with its interval, application by application."""
    data = pd.DataFrame([row for one in results for row in _gains(one)])
    if data.empty:
        return None
    names = list(dict.fromkeys(name for one in results for name in one.shown.strategies))
    x = alt.X("gain:Q", title="gain on unclipped, % of its score (right is better)", axis=FEW_TICKS)
    base = alt.Chart().encode(
        y=alt.Y("strategy:N", sort=[label(name) for name in names], title=None),
        color=colours(names).legend(None),
        tooltip=["application:N", "metric:N", "strategy:N", "gain:Q", "low:Q", "high:Q"],
    )
    zero = alt.Chart().mark_rule(strokeDash=[4, 3], opacity=0.6).encode(x=alt.datum(0))
    line = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q")
    point = base.mark_point(filled=True, size=80, opacity=1).encode(x=x)
    layers = alt.layer(zero, line, point, data=data).properties(width=WIDTH, height=alt.Step(24))
    order = list(dict.fromkeys(data["application"]))
    return Figure(
        "gains",
        "Gain on unclipped training",
        "Mean difference to the unclipped run of the same seed on the test metric, in percent of "
        "the unclipped mean, with its 95 % bootstrap interval (none for one seed, too narrow for "
        "few).",
        layers.facet(facet=alt.Facet("application:N", title=None, sort=order), columns=1),
    )


def _gains(results: Results) -> list[dict[str, object]]:
    """A row for each strategy whose gain has a percentage."""
    metric, shown = results.trained, results.shown
    base = scores(shown.of(UNCLIPPED), metric).mean
    if metric.direction == "target" or not base:
        return []
    rows: list[dict[str, object]] = []
    pairs = against_unclipped(results)[results.grid.comparisons.index(shown)]
    for name, paired in pairs.items():
        if paired.gain is not None:
            ends = paired.interval or Interval(paired.gain, paired.gain)
            row = {"application": results.title, "strategy": label(name), "metric": metric.label}
            gains = {"gain": paired.gain, "low": ends.low, "high": ends.high}
            rows.append({**row, **{key: 100 * gain / abs(base) for key, gain in gains.items()}})
    return rows
