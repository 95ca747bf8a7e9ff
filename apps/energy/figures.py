"""Pictures of day-ahead forecasts for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from apps.energy.forecast import Forecast
from apps.report.charts.theme import WIDTH, Figure, Layers, colours
from apps.report.model.formatting import label
from apps.report.model.runs import UNCLIPPED

REFERENCE = "ridge"


def figures(forecasts: Mapping[str, Forecast], target: str) -> Sequence[Figure]:
    """Three test days with their interval, errors over the day, and reliability."""
    trained = [name for name in forecasts if name not in _baseline_names(forecasts)]
    if not trained:
        return []
    return [
        _days(forecasts, trained, target),
        _errors_by_time(forecasts, trained, target),
        _reliability(forecasts, trained),
    ]


def _baseline_names(forecasts: Mapping[str, Forecast]) -> set[str]:
    from apps.energy.baselines import BASELINES

    return set(BASELINES) & set(forecasts)


def _days(forecasts: Mapping[str, Forecast], trained: Sequence[str], target: str) -> Figure:
    """The best, the middle and the worst test day of one trained model."""
    shown = next((name for name in trained if name != UNCLIPPED), trained[0])
    forecast = forecasts[shown]
    errors = np.abs(forecast.truth - forecast.median).mean(axis=1)
    order = np.argsort(errors, kind="stable")
    chosen = {
        "best day": int(order[0]),
        "middle day": int(order[len(order) // 2]),
        "worst day": int(order[-1]),
    }
    panels = [
        _day(forecasts, shown, number, f"{title}, {forecast.origins[number]:%a %d %b %Y}", target)
        for title, number in chosen.items()
    ]
    return Figure(
        "forecast_days",
        "Forecasts against truth",
        f"The test days with the smallest, the median and the largest mean absolute error of "
        f"{label(shown)} (first seed): median forecast, 80 % interval, truth, and the ridge "
        f"regression beside them.",
        alt.vconcat(*panels).resolve_scale(y="shared", color="shared"),
    )


def _day(
    forecasts: Mapping[str, Forecast], shown: str, number: int, title: str, target: str
) -> Layers:
    forecast = forecasts[shown]
    times = pd.DatetimeIndex(forecast.times[number])
    series = {"truth": forecast.truth[number], "forecast": forecast.median[number]}
    if REFERENCE in forecasts:
        other = forecasts[REFERENCE]
        same = int(other.origins.get_loc(forecast.origins[number]))
        series[REFERENCE] = other.median[same]
    lines = pd.concat(
        pd.DataFrame({"time": times, "value": values, "line": name})
        for name, values in series.items()
    )
    band = pd.DataFrame(
        {
            "time": times,
            "low": forecast.quantile(forecast.levels[0])[number],
            "high": forecast.quantile(forecast.levels[-1])[number],
        }
    )
    x = alt.X("time:T", title=None, axis=alt.Axis(format="%H:%M", tickCount=8))
    y_scale = alt.Scale(zero=False)
    area = (
        alt.Chart(band)
        .mark_area(opacity=0.25, color=_FORECAST)
        .encode(x, alt.Y("low:Q", title=target, scale=y_scale), alt.Y2("high:Q"))
    )
    colour = alt.Color(
        "line:N",
        title=None,
        scale=alt.Scale(domain=["truth", "forecast", REFERENCE], range=_LINES),
    )
    dashes = alt.StrokeDash(
        "line:N",
        title=None,
        scale=alt.Scale(domain=["truth", "forecast", REFERENCE], range=[[1, 0], [1, 0], [4, 3]]),
    )
    drawn = (
        alt.Chart(lines)
        .mark_line(strokeWidth=1.8)
        .encode(x, alt.Y("value:Q", scale=y_scale), colour, dashes)
    )
    return alt.layer(area, drawn).properties(width=WIDTH, height=150, title=title)


def _errors_by_time(
    forecasts: Mapping[str, Forecast], trained: Sequence[str], target: str
) -> Figure:
    """Mean absolute error over the time of day, trained models and the best baselines."""
    rows = []
    for name, forecast in forecasts.items():
        error = np.abs(forecast.truth - forecast.median).mean(axis=0)
        hours = (forecast.times[0] - forecast.times[0, 0]) / np.timedelta64(1, "h")
        rows.append(pd.DataFrame({"hour": hours, "error": error, "name": name}))
    table = pd.concat(rows)
    best = sorted(
        _baseline_names(forecasts), key=lambda name: table[table.name == name]["error"].mean()
    )[:2]
    kept = table[table.name.isin([*trained, *best])]
    kept = kept.assign(strategy=kept.name.map(label), kind=kept.name.isin(best))
    chart = (
        alt.Chart(kept)
        .mark_line(strokeWidth=1.8)
        .encode(
            alt.X("hour:Q", title="hours after the origin"),
            alt.Y("error:Q", title=f"mean absolute error, {target}"),
            colours([*trained, *best]),
            alt.StrokeDash(
                "kind:N", legend=None, scale=alt.Scale(domain=[False, True], range=[[1, 0], [4, 3]])
            ),
        )
        .properties(width=WIDTH, height=260)
    )
    return Figure(
        "error_by_time",
        "Error over the day",
        "Mean absolute error of the median over the test days (first seed), with the two best "
        "baselines dashed.",
        chart,
    )


def _reliability(forecasts: Mapping[str, Forecast], trained: Sequence[str]) -> Figure:
    """Share of the truth below each quantile against its level."""
    rows = [
        {"level": level, "share": float(np.mean(f.truth <= f.quantile(level))), "name": name}
        for name in trained
        for f in [forecasts[name]]
        for level in f.levels
    ]
    table = pd.DataFrame(rows)
    table["strategy"] = table["name"].map(label)
    ideal = pd.DataFrame({"level": [0.0, 1.0], "share": [0.0, 1.0]})
    diagonal = (
        alt.Chart(ideal).mark_line(strokeDash=[4, 3], opacity=0.6).encode(x="level:Q", y="share:Q")
    )
    points = (
        alt.Chart(table)
        .mark_line(point=True, strokeWidth=1.5)
        .encode(
            alt.X("level:Q", title="level of the quantile", scale=alt.Scale(domain=[0, 1])),
            alt.Y("share:Q", title="share of the truth below it", scale=alt.Scale(domain=[0, 1])),
            colours(trained),
        )
    )
    return Figure(
        "reliability",
        "Reliability of the quantiles",
        "A well calibrated forecast lies on the dashed diagonal: a tenth of the truth below the "
        "0.1 quantile, and so on.",
        alt.layer(diagonal, points).properties(width=380, height=320),
    )


_FORECAST = "#1b7fbd"
_LINES = ["#888888", _FORECAST, "#d1761c"]
