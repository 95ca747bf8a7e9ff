"""Pictures of risk forecasts for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from apps.finance.backtests import diebold_mariano, qlike
from apps.finance.baselines import BASELINES
from apps.finance.forecast import LEVELS, Forecast
from apps.report.results import UNCLIPPED
from apps.report.theme import GREY, WIDTH, Figure, Layers, colours
from apps.report.writing import label

REFERENCE = "gjr_garch_t"
CRISES = 3
CRISIS_DAYS = 126  # half a year of trading
SMOOTHED = 5  # days over which realised volatility is averaged

_TRUTH, _FORECAST, _OTHER, _BREACH = "#9aa1ab", "#0a84c6", "#e08a00", "#d55e00"


def figures(forecasts: Mapping[str, Forecast], horizon: int) -> Sequence[Figure]:
    """Volatility through the crises, VaR and breaches, PIT, and Diebold-Mariano tests.

    Of several assets the first is drawn. Nothing is drawn where no run has finished.
    """
    trained = [name for name in forecasts if name not in BASELINES]
    if not trained:
        return []
    shown = next((name for name in trained if name != UNCLIPPED), trained[0])
    return [
        _volatility(forecasts, shown, horizon),
        _risk_band(forecasts[shown], shown),
        _pit(forecasts, trained),
        _tests(forecasts, trained, horizon),
    ]


def _volatility(forecasts: Mapping[str, Forecast], shown: str, horizon: int) -> Figure:
    """Forecast and realised volatility: the whole test, and its worst half years."""
    table = _volatility_table(forecasts, shown, horizon)
    low = table.iloc[::3] if len(table) > 1500 else table
    panels = [_lines(low, "the whole test", WIDTH)]
    crises = [table.iloc[start:stop] for start, stop in crisis_windows(table["realised"])]
    width = (WIDTH - 60) // max(len(crises), 1)
    rows: list[Any] = [*panels]
    if crises:
        rows.append(
            alt.hconcat(
                *(_lines(part, _months(part["date"]), width) for part in crises), spacing=30
            )
        )
    asset = forecasts[shown].assets[0]
    return Figure(
        "volatility",
        "Volatility forecast against realised",
        f"{asset}: volatility over {horizon} days in % as {label(shown)} (first seed) and "
        f"{REFERENCE} forecast it the day before, and realised (root of the mean squared daily "
        f"return over {SMOOTHED} forecasts around). Below: the half years of the test in which the "
        "realised volatility was highest.",
        alt.vconcat(*rows).resolve_scale(color="shared"),
    )


def _volatility_table(forecasts: Mapping[str, Forecast], shown: str, horizon: int) -> pd.DataFrame:
    one = forecasts[shown]
    realised = pd.Series(one.realised[:, 0]).rolling(SMOOTHED, center=True, min_periods=1).mean()
    columns = {"date": one.dates, "realised": np.sqrt(realised), "forecast": _deviation(one)}
    if REFERENCE in forecasts:
        columns[REFERENCE] = _deviation(forecasts[REFERENCE])
    return pd.DataFrame(columns)


def _deviation(forecast: Forecast) -> np.ndarray:
    return np.sqrt(forecast.variance[:, 0])


def crisis_windows(realised: pd.Series[float]) -> list[tuple[int, int]]:
    """First and last row (exclusive) of the half years with the highest mean, in order of time."""
    if len(realised) < 2 * CRISIS_DAYS:
        return []
    mean = realised.rolling(CRISIS_DAYS).mean().to_numpy().copy()
    found = []
    for _ in range(CRISES):
        if np.isnan(mean).all():
            break
        stop = int(np.nanargmax(mean)) + 1
        found.append((stop - CRISIS_DAYS, stop))
        mean[max(0, stop - CRISIS_DAYS) : stop + CRISIS_DAYS] = np.nan
    return sorted(found)


def _months(dates: pd.Series) -> str:
    return f"{dates.iloc[0]:%b %Y} to {dates.iloc[-1]:%b %Y}"


def _lines(table: pd.DataFrame, title: str, width: int) -> Layers:
    names = ["realised", *(name for name in ("forecast", REFERENCE) if name in table)]
    tall = table.melt("date", names, var_name="line", value_name="volatility")
    palette = dict(
        zip(("realised", "forecast", REFERENCE), (_TRUTH, _FORECAST, _OTHER), strict=True)
    )
    colour = alt.Color(
        "line:N", title=None, scale=alt.Scale(domain=names, range=[palette[n] for n in names])
    )
    x = alt.X("date:T", title=None, axis=alt.Axis(tickCount=8 if width > 400 else 3))
    y = alt.Y("volatility:Q", title="volatility, %", axis=alt.Axis(tickCount=5))
    base = alt.Chart(tall).encode(x, y, colour)
    area = base.transform_filter("datum.line == 'realised'").mark_area(opacity=0.45)
    lines = base.transform_filter("datum.line != 'realised'").mark_line(strokeWidth=1.4)
    return alt.layer(area, lines).properties(width=width, height=170, title=title)


def _risk_band(forecast: Forecast, shown: str) -> Figure:
    """Returns, VaR at 1 % and 5 %, and the days on which they were broken."""
    truth, one, five = (
        values[:, 0]
        for values in (forecast.truth, forecast.quantile(0.01), forecast.quantile(0.05))
    )
    table = pd.DataFrame({"date": forecast.dates, "truth": truth, "one": one, "five": five})
    kind = np.select([truth <= one, truth <= five], ["below VaR 1 %", "below VaR 5 %"], "above")
    broken = table.assign(kind=kind)[kind != "above"]
    x = alt.X("date:T", title=None, axis=alt.Axis(tickCount=8))
    y = alt.Y("truth:Q", title="return, %", axis=alt.Axis(tickCount=6))
    points = alt.Chart(table).mark_circle(size=5, color=_TRUTH, opacity=0.6).encode(x, y)
    band = alt.Chart(table).mark_area(color=_FORECAST, opacity=0.35)
    band = band.encode(x, alt.Y("one:Q"), alt.Y2("five:Q"))
    colour = alt.Color(
        "kind:N",
        title=None,
        scale=alt.Scale(domain=["below VaR 5 %", "below VaR 1 %"], range=[_OTHER, _BREACH]),
    )
    marks = alt.Chart(broken).mark_circle(size=22, opacity=0.95).encode(x, y, colour)
    counts = {level: float((truth <= var).mean()) for level, var in ((1, one), (5, five))}
    return Figure(
        "risk_band",
        "Value at risk and its breaches",
        f"{forecast.assets[0]}: the band reaches from the VaR at 5 % down to that at 1 %, as "
        f"{label(shown)} (first seed) forecast it the day before; dots are returns. Broken on "
        f"{counts[5]:.1%} of the days at 5 % and on {counts[1]:.1%} at 1 %.",
        alt.layer(points, band, marks).properties(width=WIDTH, height=300),
    )


def _pit(forecasts: Mapping[str, Forecast], trained: Sequence[str]) -> Figure:
    """Shares of the returns between neighbouring quantiles, against their levels."""
    names = [*trained, *(name for name in (REFERENCE, "riskmetrics") if name in forecasts)]
    edges = [0.0, *(level for level in LEVELS if 0.01 < level < 0.99), 1.0]
    parts = []
    for name in names:
        forecast = forecasts[name]
        below = np.stack([forecast.truth <= forecast.quantile(u) for u in edges[1:-1]], axis=-1)
        shares = np.diff([0.0, *below.mean(axis=(0, 1)), 1.0])
        parts.append(
            pd.DataFrame(
                {"low": edges[:-1], "high": edges[1:], "share": shares * (len(edges) - 1)}
            ).assign(strategy=label(name), floor=0.0)
        )
    table = pd.concat(parts)
    bars = (
        alt.Chart()
        .mark_rect(opacity=0.85, stroke="white", strokeWidth=0.5)
        .encode(
            alt.X("low:Q", title="place in the forecast distribution", axis=alt.Axis(tickCount=5)),
            alt.X2("high:Q"),
            alt.Y("share:Q", title="times expected", axis=alt.Axis(tickCount=4)),
            alt.Y2("floor:Q"),
            colours(names).legend(None),
        )
    )
    even = alt.Chart().mark_rule(strokeDash=[4, 3]).encode(y=alt.datum(1.0))
    columns = min(len(names), 4)
    width = (WIDTH - 50 * columns) // columns
    header = alt.Facet("strategy:N", title=None, sort=[label(name) for name in names])
    return Figure(
        "pit",
        "Reliability of the distribution",
        "Where the return fell in the distribution forecast for it (PIT): a well calibrated "
        "forecast fills every twentieth alike, a hump in the middle means too wide, raised ends "
        "too narrow. First seed, all assets.",
        alt.layer(bars, even, data=table)
        .properties(width=width, height=150)
        .facet(facet=header, columns=columns, spacing=24),
    )


def _tests(forecasts: Mapping[str, Forecast], trained: Sequence[str], horizon: int) -> Figure:
    """QLIKE difference to each baseline with its 95 % interval and Diebold-Mariano p-value."""
    rows = []
    losses = {
        name: qlike(forecast.variance, forecast.realised).mean(axis=1)
        for name, forecast in forecasts.items()
    }
    for name in trained:
        for other in (key for key in forecasts if key in BASELINES):
            mean, error, p = diebold_mariano(losses[name], losses[other], horizon)
            text = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
            low, high = mean - 1.96 * error, mean + 1.96 * error
            rows.append((label(name), other, mean, low, high, text))
    names = ["strategy", "baseline", "mean", "low", "high", "p"]
    table = pd.DataFrame(rows, columns=names)
    base = alt.Chart(table).encode(
        y=alt.Y("strategy:N", title=None, sort=[label(name) for name in trained]),
        color=colours(trained).legend(None),
    )
    bars = base.mark_rule(strokeWidth=2).encode(
        alt.X("low:Q", title="difference of QLIKE, negative: better than the baseline"), x2="high:Q"
    )
    points = base.mark_circle(size=60).encode(x="mean:Q")
    texts = base.mark_text(align="left", dx=6, fontSize=10).encode(
        x="high:Q", text="p:N", color=alt.value(GREY)
    )
    zero = alt.Chart().mark_rule(strokeDash=[4, 3]).encode(x=alt.datum(0.0))
    return Figure(
        "diebold_mariano",
        "Against each baseline",
        "Mean difference of QLIKE over the test days (first seed) with its 95 % interval and the "
        "p-value of the Diebold-Mariano test (Newey-West errors).",
        alt.layer(zero, bars, points, texts, data=table)
        .properties(width=WIDTH - 190, height=18 * len(trained) + 8)
        .facet(
            row=alt.Row(
                "baseline:N",
                title=None,
                sort=[name for name in forecasts if name in BASELINES],
                header=alt.Header(labelAngle=0, labelAlign="left"),
            ),
            spacing=6,
        ),
    )
