"""Pictures of risk forecasts for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from apps.finance.baselines import BASELINES
from apps.finance.forecast import Forecast
from apps.finance.reliability_figures import pit_figure, tests_figure
from apps.report.charts.theme import WIDTH, Figure, Layers
from apps.report.model.formatting import label
from apps.report.model.runs import UNCLIPPED

REFERENCE = "gjr_garch_t"
CRISES = 3
CRISIS_DAYS = 126  # half a year of trading
SMOOTHED = 5  # days over which realised volatility is averaged

_TRUTH, _FORECAST, _OTHER, _BREACH = "#9aa1ab", "#0a84c6", "#e08a00", "#b3123c"
_AXIS = alt.Axis(tickCount=8, format="%Y")
_SHORT_AXIS = alt.Axis(tickCount={"interval": "month", "step": 2}, format="%b %Y")


def figures(forecasts: Mapping[str, Forecast], horizon: int) -> Sequence[Figure]:
    """Volatility through the crises, VaR and breaches, PIT, and Diebold-Mariano tests.

    Of several assets the first is drawn. Nothing is drawn where no run has finished.
    """
    trained = [name for name in forecasts if name not in BASELINES]
    if not trained:
        return []
    shown = next((name for name in trained if name != UNCLIPPED), trained[0])
    rivals = [name for name in (REFERENCE, "riskmetrics") if name in forecasts]
    return [
        _volatility(forecasts, shown, horizon),
        _risk_band(forecasts[shown], shown),
        pit_figure(forecasts, [*trained, *rivals]),
        tests_figure(forecasts, trained, horizon),
    ]


def _volatility(forecasts: Mapping[str, Forecast], shown: str, horizon: int) -> Figure:
    """Forecast and realised volatility: the whole test, and its worst half years."""
    table = _volatility_table(forecasts, shown, horizon)
    low = table.iloc[::3] if len(table) > 1500 else table
    panels = [_lines(low, "the whole test", WIDTH)]
    crises = [table.iloc[start:stop] for start, stop in crisis_windows(table["realised"])]
    width = (WIDTH - 140) // max(len(crises), 1)
    rows: list[Any] = [*panels]
    if crises:
        rows.append(
            alt.hconcat(
                *(_lines(part, _months(part["date"]), width) for part in crises), spacing=30
            )
        )
    asset, days = forecasts[shown].assets[0], "day" if horizon == 1 else "days"
    return Figure(
        "volatility",
        "Volatility forecast against realised",
        f"{asset}: volatility over {horizon} {days} in % as {label(shown)} (first seed) and "
        f"{REFERENCE} forecast it beforehand, and realised (root of the mean squared daily "
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
    """First and last row (exclusive) of the half years with the highest mean, in order of time.

    At least half a year lies between two of them, so that one crisis is not shown twice.
    """
    if len(realised) < 2 * CRISIS_DAYS:
        return []
    mean = realised.rolling(CRISIS_DAYS).mean().to_numpy().copy()
    found = []
    for _ in range(CRISES):
        if np.isnan(mean).all():
            break
        stop = int(np.nanargmax(mean)) + 1
        found.append((stop - CRISIS_DAYS, stop))
        mean[max(0, stop - 2 * CRISIS_DAYS) : stop + 2 * CRISIS_DAYS] = np.nan
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
    x = alt.X("date:T", title=None, axis=_AXIS if width > 400 else _SHORT_AXIS)
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
    kinds = ["below VaR 5 %", "below VaR 1 %"]
    colour = alt.Color("kind:N", title=None, scale=alt.Scale(domain=kinds, range=[_OTHER, _BREACH]))
    size = alt.condition(f"datum.kind == '{kinds[1]}'", alt.value(42), alt.value(18))
    marks = alt.Chart(broken).mark_circle(opacity=0.95).encode(x, y, colour, size=size)
    counts = {level: float((truth <= var).mean()) for level, var in ((1, one), (5, five))}
    return Figure(
        "risk_band",
        "Value at risk and its breaches",
        f"{forecast.assets[0]}: the band reaches from the VaR at 5 % down to that at 1 %, as "
        f"{label(shown)} (first seed) forecast it beforehand; dots are returns. Broken on "
        f"{counts[5]:.1%} of the days at 5 % and on {counts[1]:.1%} at 1 %.",
        alt.layer(points, band, marks).properties(width=WIDTH, height=300),
    )
