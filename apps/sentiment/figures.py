"""Pictures of predicted sentiment for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from apps.report.charts.theme import GREY, PALETTE, Figure, Layers, colours
from apps.report.model.formatting import label
from apps.report.model.runs import UNCLIPPED
from apps.sentiment.baselines import NAMES
from apps.sentiment.corpus import POLARITIES, polarity
from apps.sentiment.metrics import classes_of, decided, evaluate, is_rated

BINS = 10
SIDE = 300


def figures(predictions: Mapping[str, pd.DataFrame]) -> Sequence[Figure]:
    """Confusion matrix and reliability diagram of the first run of each strategy."""
    trained = [name for name in predictions if name not in NAMES]
    if not trained:
        return []
    best = best_baseline(predictions)
    return [_confusion(predictions, shown(trained), best), _reliability(predictions, trained, best)]


def shown(trained: Sequence[str]) -> str:
    """The strategy to show where one must do: the first that clips."""
    return next((name for name in trained if name != UNCLIPPED), trained[0])


def best_baseline(predictions: Mapping[str, pd.DataFrame]) -> str | None:
    """The baseline with the smallest log loss."""
    losses = {
        name: evaluate(predictions[name])["log_loss"] for name in NAMES if name in predictions
    }
    return min(losses, key=losses.__getitem__, default=None)


def _confusion(predictions: Mapping[str, pd.DataFrame], name: str, best: str | None) -> Figure:
    names = [name, *filter(None, [best])]
    return Figure(
        "confusion",
        "Confusion matrix",
        f"Share of the texts of each true class (a row adds up to 100 %) that {label(name)} (first "
        "seed) and the baseline with the smallest log loss call by each class, with their number.",
        alt.hconcat(*[_matrix(predictions[of], label(of)) for of in names], spacing=40),
    )


def _matrix(frame: pd.DataFrame, title: str) -> Layers:
    classes = list(POLARITIES) if is_rated(frame) else classes_of(frame)
    numbers = polarity(frame["target"]) if is_rated(frame) else frame["target"].to_numpy(int)
    counts = pd.crosstab(np.array(classes)[numbers], frame["predicted"].to_numpy())
    counts = counts.reindex(index=classes, columns=classes, fill_value=0)
    rows = counts.rename_axis(index="truth", columns="called").stack().rename("n").reset_index()
    rows["share"] = rows["n"] / rows.groupby("truth")["n"].transform("sum").clip(lower=1)
    rows["text"] = [f"{s:.0%}" for s in rows["share"]]
    base = alt.Chart(rows).encode(
        alt.X("called:N", sort=classes, title="called", axis=alt.Axis(labelAngle=0, orient="top")),
        alt.Y("truth:N", sort=classes, title="truth"),
    )
    shade = alt.Color(
        "share:Q",
        scale=alt.Scale(domain=[0, 1], range=["#eef4fa", PALETTE[0]]),
        legend=None,
    )
    few = len(classes) <= 6
    layers = [base.mark_rect().encode(shade, tooltip=["truth:N", "called:N", "n:Q"])]
    # On a shade that is light in both themes the text is always dark.
    if few:
        layers += [
            base.mark_text(dy=-7, fontSize=14, color="#1d2430").encode(text="text:N"),
            base.mark_text(dy=10, fontSize=11, color="#1d2430").encode(text="n:Q"),
        ]
    return alt.layer(*layers).properties(width=SIDE, height=SIDE * 0.8, title=title)


def _reliability(
    predictions: Mapping[str, pd.DataFrame], trained: Sequence[str], best: str | None
) -> Figure:
    names = [*trained, *filter(None, [best])]
    table = pd.concat([_bins(predictions[name]).assign(strategy=label(name)) for name in names])
    diagonal = (
        alt.Chart(pd.DataFrame({"probability": [0.0, 1.0], "share": [0.0, 1.0]}))
        .mark_line(strokeDash=[4, 3], strokeWidth=1.5, color=GREY)
        .encode(x="probability:Q", y="share:Q")
    )
    unit = alt.Scale(domain=[0, 1])
    binary = len(decided(predictions[trained[0]])[2][0]) == 2
    what = "positive" if is_rated(predictions[trained[0]]) else "the last class"
    x_title = f"probability of {what}" if binary else "probability of the predicted class"
    y_title = f"share that is {what}" if binary else "share predicted rightly"
    points = (
        alt.Chart(table)
        .mark_line(point=True, strokeWidth=1.5)
        .encode(
            alt.X("probability:Q", title=x_title, scale=unit),
            alt.Y("share:Q", title=y_title, scale=unit),
            colours(names),
            tooltip=["strategy:N", alt.Tooltip("share:Q", format=".3f"), "n:Q"],
        )
    )
    return Figure(
        "reliability",
        "Reliability of the probabilities",
        f"Texts in {BINS} groups by their probability (groups under 10 texts left out): among "
        "those given 0.8, 80 % should be so, and the point then lies on the dashed diagonal. "
        "First seed.",
        alt.layer(diagonal, points).properties(width=400, height=340),
    )


def _bins(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean probability, share of hits and number of texts of each group."""
    _, truth, probabilities = decided(frame)
    if probabilities.shape[1] == 2:
        given, hit = probabilities[:, 1], truth == 1
    else:
        given, hit = probabilities.max(axis=1), truth == probabilities.argmax(axis=1)
    table = pd.DataFrame({"probability": given, "share": hit.astype(float), "n": 1})
    table["bin"] = np.minimum((given * BINS).astype(int), BINS - 1)
    groups = table.groupby("bin").agg({"probability": "mean", "share": "mean", "n": "sum"})
    return groups[groups["n"] >= 10].reset_index()
