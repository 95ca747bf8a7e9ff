"""The picture of an advice, and the files that it leaves."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from apps.report.charts.norms import PERCENT, rounded, ticks
from apps.report.charts.theme import GREY, PALETTE, WIDTH, Layers, png, specification, svg
from apps.report.model.formatting import percent, several
from data_scripts.files import is_temporary, write_bytes, write_text
from gradclip_core import Advice
from gradclip_core.advice import Candidate, Record, replay
from gradclip_core.advice.candidates import global_norm, log_z, rolling_median
from gradclip_core.advice.statistics import percentile as norm_percentile

ADVICE = "advice.json"
NUM_BINS = 40
MOST_MODULES = 6
BLOWUP = 100.0  # norms so many times the upper quartile are drawn at the upper edge
FEW_DECADES = 4  # beyond these, powers of ten read better than zeros
HEIGHT = 230
SIDE = 150  # width of the distribution beside the course
BAD = "#d55e00"


def write_advice(advice: Advice, record: Record, folder: Path, command: str) -> None:
    """Write advice.json, advice.png and advice.svg; command: the one to train with."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"command": command} | advice.as_dict()
    text = json.dumps(facts, indent=2, allow_nan=False)
    spec = specification(picture(advice, record))
    write_bytes(folder / "advice.png", png(spec))
    write_text(folder / "advice.svg", svg(spec))
    write_text(folder / ADVICE, text + "\n")  # the last: it says that all is there


def is_unfinished(folder: Path) -> bool:
    """Whether a folder is empty, or holds what `write_advice` left when it was killed."""
    pictures = {"advice.png", "advice.svg", ".lock"}
    return all(path.name in pictures or is_temporary(path) for path in folder.iterdir())


def picture(advice: Advice, record: Record) -> alt.VConcatChart:
    """The norm over the steps with thresholds, its distribution, and the modules' norms."""
    limits = _limits(advice, record)
    low, high = _reach(record, limits)
    y = alt.Y("norm:Q", title="gradient norm", scale=alt.Scale(type="log", domain=[low, high]))
    y = y.axis(**_marked(np.log10(low), np.log10(high)))
    top = alt.hconcat(_course(record, limits, y, high), _distribution(record, y, high), spacing=10)
    title = alt.TitleParams(
        f"After {several(advice.norms.steps, 'step')} without clipping: {advice.choice.line}",
        subtitle=[row for reason in advice.reasons for row in textwrap.wrap(reason, 150)],
        subtitleFontSize=11,
        fontSize=14,
        offset=14,
    )
    chart: alt.VConcatChart = alt.vconcat(
        top, _modules(advice, record, high), spacing=26, title=title
    ).resolve_scale(color="independent")
    return chart


def _limits(advice: Advice, record: Record) -> pd.DataFrame:
    """The thresholds of the choice and of those that it is often weighed against, by step."""
    weighed = (rolling_median(), log_z(), global_norm(norm_percentile(record.usable.norms, 90)))
    whole = [trial for trial in advice.trials if trial.candidate.by == "model"]
    chosen = [trial for trial in whole if trial.candidate == advice.choice]
    others = [t for t in whole if t.candidate in weighed and t.candidate != advice.choice]
    steps = np.flatnonzero(_usable(record)) + 1
    norms = record.usable.norms.unsqueeze(1)
    columns = [
        pd.DataFrame(
            {
                "step": steps,
                "norm": replay(trial.candidate.clipper().threshold, norms).squeeze(1).numpy(),
                "chosen": trial in chosen,
                "rule": f"{_short(trial.candidate)}: {percent(trial.clipped_steps)} clipped",
            }
        )
        for trial in [*chosen, *others]
    ]
    table = pd.concat(columns, ignore_index=True)
    return table[np.isfinite(table["norm"])]


def _short(candidate: Candidate) -> str:
    value = candidate.overrides.get("max_norm")
    return candidate.strategy if value is None else f"{candidate.strategy} {value:g}"


def _usable(record: Record) -> np.ndarray:
    return (record.norms.isfinite() & (record.norms > 0)).numpy()


def _reach(record: Record, limits: pd.DataFrame) -> tuple[float, float]:
    """The axis range: norms (but for those of a breakdown), thresholds that do not dwarf them."""
    norms = record.usable.norms.numpy()
    top = min(float(norms.max()), BLOWUP * float(np.percentile(norms, 75)))
    typical = limits.groupby("rule")["norm"].median()
    near = typical[typical < 4 * top]
    return float(norms.min()) / 1.15, 1.15 * max(top, float(near.max()) if len(near) else top)


def _course(record: Record, limits: pd.DataFrame, y: alt.Y, high: float) -> Layers:
    steps = np.arange(1, len(record.norms) + 1)
    norms = pd.DataFrame({"step": steps, "norm": record.norms.numpy()})
    x = _steps(record).title(None)
    shown = rounded(norms[_usable(record)].assign(norm=lambda t: t["norm"].clip(upper=high)))
    line = alt.Chart(shown).mark_line(color=GREY, strokeWidth=1, opacity=0.6)
    points = alt.Chart(shown).mark_circle(color=GREY, size=14, opacity=0.9)
    names = list(dict.fromkeys(limits["rule"]))
    colour = alt.Color(
        "rule:N", title=None, scale=alt.Scale(domain=names, range=list(PALETTE[: len(names)]))
    )
    rules = alt.Chart(rounded(limits)).mark_line(clip=True)
    width = alt.condition("datum.chosen", alt.value(3), alt.value(1.5))
    layers = [mark.encode(x=x, y=y) for mark in (line, points)]
    layers.append(rules.encode(x=x, y=y, color=colour, strokeWidth=width))
    lost = norms[~np.isfinite(norms["norm"])]
    if len(lost):
        cross = alt.Chart(lost).mark_point(shape="cross", angle=45, size=40, filled=True)
        layers.append(cross.encode(x=x, y=alt.value(6), color=alt.value(BAD)))
    return alt.layer(*layers).properties(width=WIDTH - SIDE, height=HEIGHT)


def _distribution(record: Record, y: alt.Y, high: float) -> Layers:
    """A histogram lying on its side, with lines at the median and the 99th percentile."""
    norms = record.usable.norms.numpy().clip(max=high)
    edges = np.geomspace(norms.min() / 1.0001, norms.max() * 1.0001, NUM_BINS + 1)
    counts, _ = np.histogram(norms, edges)
    bars = pd.DataFrame({"norm": edges[:-1], "top": edges[1:], "share": counts / len(norms)})
    quiet = y.axis(labels=False, ticks=False, title=None, domain=False)
    x = alt.X("share:Q", title="share of steps", axis=PERCENT)
    shape = alt.Chart(rounded(bars[bars["share"] > 0]).assign(floor=0.0))
    rect = shape.mark_rect(color=GREY, opacity=0.8).encode(x=x, x2="floor:Q", y=quiet, y2="top:Q")
    marks = {name: np.percentile(norms, q) for name, q in (("median", 50), ("99 %", 99))}
    at = alt.Chart(pd.DataFrame({"norm": marks.values(), "name": marks.keys()}))
    rule = at.mark_rule(strokeWidth=1, strokeDash=[2, 3]).encode(y=quiet)
    text = at.mark_text(align="right", dy=-5, fontSize=9, opacity=0.8)
    text = text.encode(y=quiet, x=alt.value(SIDE - 20), text="name:N")
    return alt.layer(rect, rule, text).properties(width=SIDE - 20, height=HEIGHT)


def _modules(advice: Advice, record: Record, high: float) -> Layers:
    """The norms of the largest modules, each step faintly and their running median."""
    names = [part.name for part in advice.modules[:MOST_MODULES]]
    table = pd.DataFrame(record.by_module(record.parameters).numpy(), columns=list(record.modules))
    table.index += 1
    table = table.loc[_usable(record), names].where(lambda t: t > 0).clip(upper=high)
    window = max(len(table) // 25, 1)
    smooth = table.rolling(window, center=True, min_periods=1).median()
    smooth, raw = (
        t.reset_index(names="step").melt("step", names, "module", "norm").dropna()
        for t in (smooth, table)
    )
    y = alt.Y("norm:Q", title="norm by module", scale=alt.Scale(type="log", nice=False))
    low, high = np.log10(raw["norm"].quantile([0.0, 1.0]))
    y = y.axis(**_marked(low, high))
    x = _steps(record).title("optimizer step")
    colour = alt.Color("module:N", title=None, scale=alt.Scale(domain=names, range=list(PALETTE)))
    faint = alt.Chart(rounded(raw)).mark_line(strokeWidth=1, opacity=0.25)
    thick = alt.Chart(rounded(smooth)).mark_line(strokeWidth=2)
    layers = alt.layer(*(mark.encode(x=x, y=y, color=colour) for mark in (faint, thick)))
    return layers.properties(width=WIDTH - SIDE, height=HEIGHT - 50)


def _steps(record: Record) -> alt.X:
    scale = alt.Scale(domain=[1, len(record.norms)], nice=False)
    return alt.X("step:Q", scale=scale, axis=alt.Axis(format=",d", tickCount=6))


def _marked(low: float, high: float) -> dict[str, Any]:
    """The marks of a logarithmic axis between powers of ten."""
    style = "~e" if high - low > FEW_DECADES else "~g"
    return {"format": style, "values": ticks(low, high), "labelOverlap": True}
