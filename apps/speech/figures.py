"""Pictures of recognition for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from apps.report.charts.norms import rounded
from apps.report.charts.theme import GREY, PALETTE, WIDTH, Figure, Layers
from apps.report.model.formatting import label
from apps.report.model.runs import UNCLIPPED
from apps.speech.alphabet import BLANK
from apps.speech.data import SpeechData
from apps.speech.recognition import emissions

# An output is drawn where its probability passes this once.
LEAST = 0.1
SPAN = alt.Axis(tickCount=8)


def figures(data: SpeechData, predictions: Mapping[str, pd.DataFrame]) -> Sequence[Figure]:
    """The emissions of two utterances, and every system's kinds of errors."""
    trained = [name for name, table in predictions.items() if "emissions" in table]
    if not trained:
        return []
    shown = next((name for name in trained if name != UNCLIPPED), trained[0])
    return [_emissions(data, shown, predictions[shown]), _errors(predictions)]


def _emissions(data: SpeechData, shown: str, table: pd.DataFrame) -> Figure:
    shown_rows = table[table["emissions"].notna()]
    wrong = shown_rows[["substitutions", "deletions", "insertions"]].sum(axis=1)
    panels = [_utterance(data, table, int(n)) for n in wrong.sort_values(kind="stable").index]
    return Figure(
        "emissions",
        "What the network hears",
        f"Two test utterances as recognised by {label(shown)} (first seed): the normalised "
        "features (a spectrogram, if they are log-mel energies), below them the probability of "
        "every output over time (dashed: the blank of CTC) and what was said and recognised. The "
        "second is the one with the most errors.",
        alt.vconcat(*panels, spacing=26).resolve_scale(color="independent", x="independent"),
    )


def _utterance(data: SpeechData, table: pd.DataFrame, number: int) -> alt.VConcatChart:
    row = table.iloc[number]
    step = data.front_end.frame_seconds
    frames = data.parts["test"].frames(number)
    spectrum = frames.reshape(len(frames), data.front_end.stack, -1).mean(dim=1).numpy()
    end = len(spectrum) * step
    span = alt.X("time:Q", title=None, scale=alt.Scale(domain=[0, end], nice=False), axis=SPAN)
    text = f"said: {row['reference']}"
    heard = f"recognised: {row['hypothesis'] or '(nothing)'}"
    return alt.vconcat(
        _spectrogram(spectrum, step, span).properties(title=f"{row['speaker']}"),
        _probabilities(data, row, step, end).properties(
            title=alt.TitleParams([text, heard], orient="bottom", anchor="start", dy=6)
        ),
        spacing=4,
    )


def _spectrogram(spectrum: np.ndarray, step: float, span: alt.X) -> alt.Chart:
    times, bands = np.meshgrid(*map(np.arange, spectrum.shape), indexing="ij")
    values = spectrum.clip(-2.5, 2.5)
    table = pd.DataFrame(
        {
            # A little overlap, or renderers leave light seams between the cells.
            "time": times.ravel() * step,
            "end": (times.ravel() + 1.1) * step,
            "band": bands.ravel(),
            "above": bands.ravel() + 1.1,
            "value": np.round(values.ravel(), 1),
        }
    )
    chart: alt.Chart = (
        alt.Chart(rounded(table))
        .mark_rect(strokeWidth=0)
        .encode(
            span,
            alt.X2("end:Q"),
            alt.Y(
                "band:Q", title="feature", axis=alt.Axis(tickCount=4), scale=alt.Scale(nice=False)
            ),
            alt.Y2("above:Q"),
            alt.Color("value:Q", scale=alt.Scale(scheme="magma"), legend=None),
        )
        .properties(width=WIDTH, height=110)
    )
    return chart


def _probabilities(data: SpeechData, row: pd.Series[object], step: float, end: float) -> Layers:
    found = emissions(row, data.alphabet).numpy()
    names = ["blank", *("space" if t == " " else t for t in data.alphabet.tokens)]
    drawn = [i for i in range(len(names)) if i == BLANK or found[:, i].max() > LEAST]
    table = pd.concat(
        pd.DataFrame(
            {
                "time": (np.arange(len(found)) + 0.5) * step,
                "probability": np.round(found[:, i], 3),
                "output": names[i],
            }
        )
        for i in drawn
    )
    shown = [names[i] for i in drawn]
    hues = [GREY, *(PALETTE[i % len(PALETTE)] for i in range(len(shown) - 1))]
    scale = alt.Scale(domain=shown, range=hues)
    x = alt.X("time:Q", title="seconds", scale=alt.Scale(domain=[0, end], nice=False), axis=SPAN)
    # Room above 1 for the words.
    height = alt.Scale(domain=[0, 1.15], nice=False)
    y = alt.Y("probability:Q", title="probability", scale=height, axis=alt.Axis(values=[0, 0.5, 1]))
    dashed = alt.condition("datum.output == 'blank'", alt.value([3, 3]), alt.value([1, 0]))
    lines = (
        alt.Chart(rounded(table))
        .mark_line(strokeWidth=1.6)
        .encode(
            x, y, alt.Color("output:N", scale=scale, sort=shown, legend=None), strokeDash=dashed
        )
    )
    peaks = _peaks(found, names, step)
    marks = alt.Chart(peaks).mark_text(dy=-8, fontSize=11).encode(x, y, text="output:N")
    return alt.layer(lines, marks).properties(width=WIDTH, height=110)


def _peaks(found: np.ndarray, names: Sequence[str], step: float) -> pd.DataFrame:
    """Where each run of a best output has its highest probability, but for blanks and spaces."""
    best = found.argmax(axis=1)
    starts = np.flatnonzero(np.r_[True, best[1:] != best[:-1]])
    rows = []
    for start, end in zip(starts, np.r_[starts[1:], len(best)], strict=True):
        output = int(best[start])
        if output != BLANK and names[output] != "space":
            at = int(start) + int(found[start:end, output].argmax())
            rows.append(
                {
                    "time": (at + 0.5) * step,
                    "probability": float(found[at, output]),
                    "output": names[output],
                }
            )
    return pd.DataFrame(rows, columns=["time", "probability", "output"])


def _errors(predictions: Mapping[str, pd.DataFrame]) -> Figure:
    rows = []
    for name, table in predictions.items():
        said = table[["hits", "substitutions", "deletions"]].to_numpy().sum()
        for kind in ("substitutions", "deletions", "insertions"):
            share = float(table[kind].sum() / said)
            rows.append({"system": label(name), "kind": kind, "share": share})
    chart = (
        alt.Chart(rounded(pd.DataFrame(rows)))
        .mark_bar()
        .encode(
            alt.X("share:Q", title="errors per word said", axis=alt.Axis(format="~%", tickCount=6)),
            alt.Y("system:N", title=None, sort=list(map(label, predictions))),
            alt.Color("kind:N", title=None, scale=alt.Scale(range=list(PALETTE[:3]))),
            tooltip=["system:N", "kind:N", alt.Tooltip("share:Q", format=".2%")],
        )
        .properties(width=WIDTH, height=30 * len(predictions))
    )
    return Figure(
        "errors",
        "Kinds of errors",
        "Substituted, deleted and inserted words per word said, on the test utterances (first "
        "seed of each strategy); the bar's length is the word error rate.",
        chart,
    )
