"""At which percentile of its own norms is a gradient best clipped? (Seetharaman et al. 2020)."""

from __future__ import annotations

from pathlib import Path

import altair as alt
import pandas as pd

from apps.replications.claims import Claim, Repetition
from apps.report.charts.theme import GREY, PALETTE, Figure, title
from apps.report.model.results import Metric, Results
from apps.report.model.runs import UNCLIPPED, Run

SOURCE = "Seetharaman, Wichern, Pardo and Le Roux 2020, arXiv:2007.14469 (source separation)"
PERCENTILE = "clipping.max_norm.q"
PROPOSED = 10.0


def repeat(results: Results, folder: Path) -> Repetition:
    """The test score against the percentile."""
    metric = results.primary
    rows = [_row(run, metric) for run in results.grid.runs]
    table = pd.DataFrame(
        [row for row in rows if row is not None], columns=["percentile", "seed", "score", "clipped"]
    )
    plain = table[table["percentile"].isna()]
    swept = table.dropna(subset=["percentile"])
    claims = [_proposed(swept, plain, metric), _largest(swept, plain, metric)]
    return Repetition(SOURCE, claims, [_figure(swept, plain, metric)])


def _row(run: Run, metric: Metric) -> tuple[float | None, int, float, float] | None:
    score, where = run.score(metric.name), run.settings.get(PERCENTILE)
    if score is None or (where is None and run.clipping != UNCLIPPED):
        return None
    return None if where is None else float(where), run.seed, score, run.clip_rate or 0.0


def _proposed(swept: pd.DataFrame, plain: pd.DataFrame, metric: Metric) -> Claim:
    text = (
        f"Clipping at the {PROPOSED:g}th percentile of the norms so far generalises better than "
        "not clipping."
    )
    if swept.empty:
        return Claim(text, "no run with a swept percentile completed.", None)
    means = swept.groupby("percentile")["score"].mean()
    at = swept[swept["percentile"] == PROPOSED].set_index("seed")["score"]
    gains = (plain.set_index("seed")["score"].map(metric.loss) - at.map(metric.loss)).dropna()
    best = means.map(metric.loss).idxmin()
    said = ", ".join(f"{score:.4g} at {where:g}" for where, score in means.items())
    return Claim(
        text,
        f"{title(metric)}, mean over seeds: {said}; unclipped {plain['score'].mean():.4g}. Best at "
        f"{best:g}; at {PROPOSED:g} better than unclipped in {(gains > 0).sum()} of {len(gains)} "
        f"seeds, by {gains.mean():.3g} on average.",
        bool(gains.mean() > 0 and (gains > 0).sum() > len(gains) / 2) if len(gains) else None,
    )


def _largest(swept: pd.DataFrame, plain: pd.DataFrame, metric: Metric) -> Claim:
    """By definition: the largest norm so far clips nothing."""
    top = swept[swept["percentile"] == 100.0].set_index("seed")["score"]
    same = (top == plain.set_index("seed")["score"].reindex(top.index)).all()
    return Claim(
        "At the 100th percentile nothing is clipped.",
        f"scores equal to those of the unclipped runs to the last bit: {'yes' if same else 'no'}.",
        bool(same) if len(top) else None,
    )


def _figure(swept: pd.DataFrame, plain: pd.DataFrame, metric: Metric) -> Figure:
    mean = swept.groupby("percentile", as_index=False)[["score", "clipped"]].mean()
    x = alt.X("percentile:Q", title="percentile of the norms so far")
    y = alt.Y("score:Q", title=title(metric), scale=alt.Scale(zero=False))
    dots = alt.Chart(swept).mark_circle(size=45, opacity=0.6, color=PALETTE[0])
    line = alt.Chart(mean).mark_line(strokeWidth=2, color=PALETTE[0])
    level = alt.Chart(pd.DataFrame({"score": [plain["score"].mean()]}))
    rule = level.mark_rule(strokeDash=[4, 4], strokeWidth=2, color=GREY).encode(y)
    return Figure(
        "percentiles",
        "Score against AutoClip's percentile",
        f"{metric.label} of every seed, their mean, and dashed the mean without clipping. The "
        f"paper proposes {PROPOSED:g}.",
        alt.layer(rule, line.encode(x, y), dots.encode(x, y)).properties(width=520, height=260),
    )
