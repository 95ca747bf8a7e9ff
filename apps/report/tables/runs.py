"""The table of every run."""

from __future__ import annotations

from apps.report.model.formatting import DASH, duration, fixed, label, short, value_text
from apps.report.model.results import Results
from apps.report.model.runs import Run
from apps.report.model.tables import Cell, Column, Table

# Swept keys that have a column of their own in the table of runs.
_SHOWN = ("optimizer", "optimizer.lr")


def runs_table(results: Results) -> Table:
    """Every run with how it ended and where its files are."""
    keys = list(dict.fromkeys(key for grid in results.grids for key in grid.axes))
    heads = ["Strategy", "Seed", "Optimizer", "lr", *(k for k in keys if k not in _SHOWN)]
    heads += ["Status", "Diverged at", results.primary.label]
    words = ("Strategy", "Optimizer", "Status", *keys)
    columns = [Column(head, words=head in words) for head in heads]
    columns += [Column("Steps"), Column("Time"), Column("Folder", words=True)]
    groups = {"Comparison": results.grid.runs}
    if results.sweep:
        groups["Sweep"] = results.sweep.runs
    return Table(
        columns,
        {title: [_run_row(run, results, keys) for run in runs] for title, runs in groups.items()},
    )


def _run_row(run: Run, results: Results, keys: list[str]) -> list[Cell]:
    others = [value_text(run.settings[k]) if k in run.settings else DASH for k in keys]
    score = run.test.get(results.metric)
    return [
        Cell(label(run.clipping), label(run.clipping)),
        Cell(str(run.seed), run.seed),
        Cell(run.optimizer, run.optimizer),
        Cell(short(run.lr), run.lr),
        *(Cell(text, text) for key, text in zip(keys, others, strict=True) if key not in _SHOWN),
        Cell(run.status, run.status),
        Cell(DASH if run.diverged_at is None else str(run.diverged_at), run.diverged_at),
        Cell(fixed(score, results.primary.decimals), score),
        Cell(str(run.steps), run.steps),
        Cell(duration(run.seconds), run.seconds),
        Cell(run.run_dir, run.run_dir),
    ]
