"""An advice in words and tables."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from gradclip_core.advice.candidates import Candidate, Trial
from gradclip_core.advice.matrices import MatrixStatistics
from gradclip_core.advice.statistics import NormStatistics, PartStatistics

WIDTH = 100
MOST_PARTS = 8


def advice_text(
    *,
    choice: Candidate,
    trials: Sequence[Trial],
    norms: NormStatistics,
    modules: Sequence[PartStatistics],
    matrices: Sequence[MatrixStatistics],
    sentences: Sequence[str],
    overrides: bool,
) -> str:
    """An advice in lines of at most 100 characters; rules as Python or as overrides."""

    def named(candidate: Candidate) -> str:
        return candidate.line if overrides else candidate.code

    return "\n\n".join(
        [
            _norms(norms),
            _parts(modules),
            *([_matrices(matrices)] if matrices else []),
            _trials(trials, choice, [named(trial.candidate) for trial in trials]),
            f"use: {named(choice)}",
            "\n".join(map(_bullet, sentences)),
        ]
    )


def _norms(norms: NormStatistics) -> str:
    lost = f", {norms.nonfinite} of them with a norm that is not finite" if norms.nonfinite else ""
    heads = [f"{q} %" if q < 100 else "largest" for q in norms.percentiles]
    values = [_number(value) for value in norms.percentiles.values()]
    facts = {
        "tail (99 % over typical, relative to the running median)": norms.tail_ratio,
        "tail (Hill index; 2 and below is heavy)": norms.tail_index,
        "level (last quarter over first quarter)": norms.drift,
        "spikes (over 4 deviations of the log-norm and twice the median)": norms.spikes,
    }
    rows = [[name, _number(value)] for name, value in facts.items()]
    return "\n".join(
        [
            f"{norms.steps} steps without clipping{lost}",
            _table([["gradient norm", *heads], ["", *values]]),
            _table(rows),
        ]
    )


def _parts(parts: Sequence[PartStatistics]) -> str:
    rows = [["module (medians over the steps)", "norm", "share of square", "norm / weights"]]
    rows += [
        [part.name, _number(part.norm), f"{part.share:.1%}", _number(part.ratio)]
        for part in parts[:MOST_PARTS]
    ]
    return _table(rows) + _and_more(len(parts) - MOST_PARTS)


def _matrices(matrices: Sequence[MatrixStatistics]) -> str:
    head = ["matrix (medians over the steps)", "singular value", "stable rank"]
    rows = [[*head, "outliers", "their stable rank"]]
    rows += [
        [
            matrix.name,
            *map(_number, (matrix.singular, matrix.stable_rank)),
            str(matrix.outliers),
            _number(matrix.outlier_rank),
        ]
        for matrix in matrices[:MOST_PARTS]
    ]
    return _table(rows) + _and_more(len(matrices) - MOST_PARTS)


def _and_more(rest: int) -> str:
    return f"\nand {rest} more" if rest > 0 else ""


def _trials(trials: Sequence[Trial], choice: Candidate, names: list[str]) -> str:
    rows = [["", "steps clipped", "parts clipped", "smallest factor", "rule"]]
    rows += [
        [
            ">" if trial.candidate == choice else "",
            f"{trial.clipped_steps:.1%}",
            "-" if trial.clipped_parts is None else f"{trial.clipped_parts:.1%}",
            _number(trial.coefficient),
            name,
        ]
        for trial, name in zip(trials, names, strict=True)
    ]
    return _table(rows, left=(0, 4))


def _bullet(sentence: str) -> str:
    return textwrap.fill(sentence, WIDTH, initial_indent="- ", subsequent_indent="  ")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _table(rows: list[list[str]], left: tuple[int, ...] = (0,)) -> str:
    """Columns side by side, those in `left` to the left and the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
