"""The tables as Markdown, and the picture."""

from __future__ import annotations

import altair as alt

from apps.report.charts.theme import png, specification
from benchmarks.accuracy import SIZES
from benchmarks.history import LENGTHS
from benchmarks.machine import machine
from benchmarks.measured import Measured, Row
from benchmarks.reach import reach

_HEAD = """# How fast clipping is

Time divided by that of the base call on the same gradients, float32 on CPU, one thread unless the
heading says more; median, with quartiles in brackets. Under 1 is faster than the base. "not
needed": the gradient is below the threshold, as in most steps of most runs; "binding": it is
clipped. Made by

```bash
{command}
```

on {machine}.

"ours, kernel" is the compiled C kernel, "ours, PyTorch" the same without it. Ratios scatter on a
busy machine, most of all those of small sets, where the work of Python counts: read the
quartiles; "again" is the base call beside itself. AutoClip and ZClip are plain loops by their
papers, every other peer is its package's own code. `make bench` writes this page anew.

![Ratios of ours and of the peers](benchmarks.png)
"""
_HISTORY = """
## Thresholds that look back

One more step of the threshold alone after a history of so many steps, as a share of
`clip_grad_norm_` on the small LSTM's gradients ({clip}).

| threshold | {lengths} |
| :--- | {marks} |
"""
_ACCURACY = """
## Accuracy

Error of the L2 norm of one normal float32 gradient, relative to its norm in float64.

| norm of | {sizes} |
| :--- | {marks} |
"""


def page(measured: Measured) -> str:
    """All tables, one for each set of tensors."""
    command = "\n".join(measured.commands)
    parts = [_HEAD.format(machine=machine(), command=command), reach(measured)]
    for name, by_rule in measured.rows.items():
        parts.append(f"\n## {name}\n\n| rule | base | contender | not needed | binding |\n")
        parts.append("| :--- | :--- | :--- | ---: | ---: |\n")
        for rule, by_state in by_rule.items():
            binding = {row.contender: row for row in by_state.get(True, [])}
            for row in by_state[False]:
                other = binding.get(row.contender)
                cells = [rule, f"`{row.base}`", row.contender, _cell(row), _cell(other)]
                parts.append(f"| {' | '.join(cells)} |\n")
    lengths = " | ".join(f"{n:,} steps" for n in LENGTHS)
    marks = " | ".join(["---:"] * len(LENGTHS))
    parts.append(_HISTORY.format(lengths=lengths, marks=marks, clip="8 tensors, 1.05 M elements"))
    for name, shares in measured.history:
        parts.append(f"| {name} | {' | '.join(f'{t:.3f}' for t in shares)} |\n")
    sizes = " | ".join(f"{n:,} elements" for n in SIZES)
    parts.append(_ACCURACY.format(sizes=sizes, marks=" | ".join(["---:"] * len(SIZES))))
    for name, errors in measured.accuracy:
        parts.append(f"| {name} | {' | '.join(f'{error:.0e}' for error in errors)} |\n")
    return "".join(parts)


def picture(measured: Measured) -> bytes:
    """A dot for each contender, on a logarithmic axis; the line is the base call."""
    values = [
        {"set": _short(name), "rule": rule, "contender": row.contender}
        | {"ratio": row.median, "state": "binding" if binding else "not needed"}
        for name, rule, binding, row in measured.medians()
        if not row.contender.endswith("again")
    ]
    axis = alt.X("ratio:Q", title="time / base call", scale=alt.Scale(type="log"))
    dots = (
        alt.Chart()
        .mark_point(filled=True, size=50)
        .encode(
            x=axis,
            y=alt.Y("rule:N", title=None, sort=None),
            color=alt.Color("contender:N", title=None),
            shape=alt.Shape("state:N", title=None),
        )
    )
    line = alt.Chart().mark_rule(strokeDash=[4, 4]).encode(x=alt.datum(1.0))
    chart = alt.layer(line, dots, data=alt.Data(values=values)).properties(width=330, height=170)
    return png(specification(chart.facet(facet=alt.Facet("set:N", title=None), columns=2)))


def _short(name: str) -> str:
    """A set's name without its size, with its threads."""
    threads = f", {name.rpartition(', ')[2]}" if name.endswith("threads") else ""
    return name.split(":")[0] + threads


def _cell(row: Row | None) -> str:
    return "" if row is None else f"{row.median:.2f} ({row.low:.2f} to {row.high:.2f})"
