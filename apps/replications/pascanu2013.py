"""Does clipping the norm let SGD learn longer sequences? (Pascanu, Mikolov and Bengio 2013)."""

from __future__ import annotations

from pathlib import Path

import altair as alt
import pandas as pd

from apps.replications.claims import Claim, Repetition, number
from apps.report.charts.theme import Figure, colours
from apps.report.model.formatting import label
from apps.report.model.grids import Comparison
from apps.report.model.results import Results
from apps.report.model.runs import UNCLIPPED, Run

SOURCE = "Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063, section 4.1 (temporal order)"
LENGTH, RATE = "data.length", "optimizer.lr"


def repeat(results: Results, folder: Path) -> Repetition:
    """Success against length, with the rate that each strategy validates best at."""
    table = pd.DataFrame(
        [
            (
                int(number(results, one.settings, LENGTH)),
                name,
                _rate(one.of(name)),
                _note(one, name),
            )
            for one in results.grid.comparisons
            for name in one.strategies
        ],
        columns=["length", "clipping", "rate", "note"],
    )
    names = [name for name in results.grid.strategies if name != UNCLIPPED]
    num_seeds = len({run.seed for run in results.grid.runs})
    return Repetition(
        SOURCE,
        [claim for name in names for claim in _claims(table, name, num_seeds)],
        [_figure(results, table)] if len(table) else [],
    )


def _rate(runs: list[Run]) -> float:
    """The share of runs that solved the problem, %; one that diverged has not."""
    return 100.0 * sum(bool(run.score("solved")) for run in runs) / len(runs)


def _note(one: Comparison, name: str) -> str:
    rate = one.tuned.get(name, {}).get(RATE)
    return "" if rate is None else f" at {rate:g}"


def _claims(table: pd.DataFrame, name: str, num_seeds: int) -> list[Claim]:
    """What the paper says of one strategy against none."""
    wide = table.pivot_table("rate", "length", "clipping")
    plain, clipped = wide[UNCLIPPED], wide[name]
    several = len(wide) > 1
    return [
        Claim(
            "With the norm of its gradient clipped, SGD solves the problem more often, at every "
            "length that is not hopeless or trivial for both.",
            f"{label(name)} against unclipped, {num_seeds} runs each: {_by_length(table, name)}.",
            bool((clipped >= plain).all() and (clipped > plain).any()),
        ),
        Claim(
            "The longer the sequences, the rarer the success without clipping.",
            f"unclipped: {_rates(plain)}.",
            bool(plain.iloc[-1] < plain.iloc[0]) if several else None,
        ),
        Claim(
            "Clipping alone does not suffice where sequences are long: gradients vanish, against "
            "which the paper adds a regulariser.",
            f"{label(name)}: {_rates(clipped)}.",
            bool(clipped.iloc[-1] < 100.0) if several else None,
        ),
    ]


def _by_length(table: pd.DataFrame, name: str) -> str:
    said = []
    for length, rows in table.groupby("length"):
        of = rows.set_index("clipping")
        pair = (f"{of.rate[each]:.0f} %{of.note[each]}" for each in (name, UNCLIPPED))
        said.append(f"{length} symbols: " + " against ".join(pair))
    return "; ".join(said)


def _rates(rates: pd.Series[float]) -> str:
    return ", ".join(f"{rate:.0f} % of {length} symbols" for length, rate in rates.items())


def _figure(results: Results, tuned: pd.DataFrame) -> Figure:
    """Success against length: at each learning rate, and at the one that validates best."""
    grid = results.grid
    rates = pd.DataFrame(
        [
            (
                number(results, run.settings, LENGTH),
                run.clipping,
                100.0 * bool(run.score("solved")),
                run.lr,
            )
            for run in grid.runs
        ],
        columns=["length", "clipping", "rate", "lr"],
    )
    means = rates.groupby(["length", "clipping", "lr"], as_index=False)["rate"].mean()
    means["which"] = [f"learning rate {rate:g}" for rate in means["lr"]]
    best = tuned.assign(which="the best rate of each") if grid.tuned else tuned.iloc[:0]
    table = pd.concat([means, best], ignore_index=True)
    table["strategy"] = [label(name) for name in table["clipping"]]
    chart = (
        alt.Chart(table)
        .mark_line(point=alt.OverlayMarkDef(size=60), strokeWidth=2)
        .encode(
            alt.X("length:Q", title="symbols in a sequence", scale=alt.Scale(zero=False)),
            alt.Y("rate:Q", title="runs that solved it, %", scale=alt.Scale(domain=[0, 100])),
            colours(grid.strategies),
            tooltip=["strategy:N", "length:Q", "rate:Q"],
        )
        .properties(width=165, height=200)
        .facet(alt.Facet("which:N", title=None), columns=4)
    )
    return Figure(
        "temporal_order",
        "Success against length",
        "Share of the runs with fewer than 1 % errors on 10,000 test sequences. The paper's "
        "figure has the same axes: its clipped SGD lies above plain SGD.",
        chart,
    )
