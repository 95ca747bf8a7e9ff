"""What was to be reached, beside what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measured import Measured

_HEAD = """
## Reach

What was to be reached on one thread (at most; ratios as below), and what was: a miss is bold.

| rule | set | contender | not needed | binding |
| :--- | :--- | :--- | ---: | ---: |
"""
KERNEL, PYTORCH = "ours, kernel", "ours, PyTorch"
_LARGE = ("Transformer", "large")
_ALL = ("LSTM", "Transformer", "tiny", "large")


@dataclass(frozen=True, slots=True)
class Goal:
    """The ratios that a contender was to reach on some sets; None where none was set."""

    rule: str
    sets: tuple[str, ...]
    contender: str
    not_needed: float | None
    binding: float | None


GOALS = [
    Goal("norm", _LARGE, KERNEL, 0.45, 0.95),
    Goal("norm", _LARGE, PYTORCH, 0.55, 1.00),
    Goal("norm", ("tiny",), KERNEL, 0.11, 0.11),
    Goal("norm", ("tiny",), PYTORCH, 0.40, 0.50),
    *(Goal("inf-norm", _ALL, which, 0.20, 0.30) for which in (KERNEL, PYTORCH)),
    *(Goal("value", _ALL, which, None, 0.55) for which in (KERNEL, PYTORCH)),
    *(Goal("norm of each parameter", _ALL, which, 0.55, 1.00) for which in (KERNEL, PYTORCH)),
    *(Goal("AGC", _ALL, which, 0.35, 0.35) for which in (KERNEL, PYTORCH)),
]


def reach(measured: Measured) -> str:
    """The section as Markdown."""
    return "".join([_HEAD, *_rows(measured), Path(__file__).with_name("tried.md").read_text()])


def _rows(measured: Measured) -> Iterator[str]:
    one_thread = [name for name in measured.rows if not name.endswith("threads")]
    names = {name.partition(":")[0]: name for name in one_thread}
    for goal in GOALS:
        for short in goal.sets:
            cells = [
                _cell(measured.median(names.get(short, ""), goal.rule, goal.contender, state), most)
                for state, most in ((False, goal.not_needed), (True, goal.binding))
            ]
            yield f"| {goal.rule} | {short} | {goal.contender} | {' | '.join(cells)} |\n"
    shares = [max(row) for name, row in measured.history if not name.startswith("list")]
    if shares:
        cell = _cell(max(shares), 0.01, digits=3)
        yield f"| adaptive thresholds | any history | the dearest, of a clip | {cell} | |\n"


def _cell(found: float | None, most: float | None, digits: int = 2) -> str:
    if found is None:
        return ""
    ratio = f"{found:.{digits}f}"
    if most is None:
        return ratio
    if float(ratio) <= most:
        return f"{ratio} (≤ {most:.2f})"
    return f"**{ratio}** (> {most:.2f})"
