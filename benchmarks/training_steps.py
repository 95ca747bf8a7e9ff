"""What does clipping cost in an optimizer's step, and in a whole training step?

    python -m benchmarks.training_steps --write docs

Contenders run once in each round, in random order, on the same gradients or the same batch, in
one process with one thread, by the process's CPU clock (with `--device cuda` by the wall's, once
the device is done); each time is divided by that of the base in the same round. Printed are the
median ratio and its quartiles.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterable
from pathlib import Path

import torch

from benchmarks.application_steps import APPS, Steps, application_rows
from benchmarks.machine import load, machine
from benchmarks.optimizer_steps import BASE, Row, optimizer_rows
from gradclip_core.stepping.fused_scale import LEAST

_HEAD = """# Clipping as a part of a step

Made by

```bash
{command}
```

on {machine}.

float32, one thread; medians, with quartiles in brackets. `make bench` writes this page anew.
"""
_OPTIMIZER = f"""
## Clipping and the optimizer's step

Time divided by that of `{BASE}` on the same gradients. "fold_into": the
optimizer may scale the gradients while it reads them (`clipper.fold_into(optimizer)`), which on CPU
it does from {LEAST:,} elements on: fewer are scaled quicker by the kernel. The default step is
what `AdamW(params)` makes without `fused=True`.

| tensors | optimizer | contender | not needed | binding |
| :--- | :--- | :--- | ---: | ---: |
"""
_APPLICATION = """
## Whole training steps of the applications

Forward pass, backward pass, clipping to a norm of 1 and the optimizer's step on batches of each
application's default configuration; time divided by that of a step without clipping on the same
batch. "no clipping again" is the same thing twice: its ratio shows the noise. The last column is
the share of the step's time between backward pass and step.

| application | contender | step, ms | ratio | share of clipping |
| :--- | :--- | ---: | ---: | ---: |
"""


def optimizer_table(rows: Iterable[Row]) -> str:
    """The table of part one, a line for both states of a contender."""
    found = list(rows)
    binding = {(row.where, row.contender): row for row in found if row.binding}
    lines = [
        f"| {row.where} | {row.contender} | {_cell(row)} | "
        f"{_cell(binding[row.where, row.contender])} |\n"
        for row in found
        if not row.binding
    ]
    return "".join([_OPTIMIZER, *lines])


def application_table(rows: Iterable[Steps]) -> str:
    """The table of part two."""
    lines = [
        f"| {row.app} | {row.contender} | {row.seconds * 1e3:.1f} | {_cell(row)} | "
        f"{row.share:.1%} |\n"
        for row in rows
    ]
    return "".join([_APPLICATION, *lines])


def _cell(row: Row | Steps) -> str:
    return f"{row.median:.2f} ({row.low:.2f} to {row.high:.2f})"


def main() -> None:
    """Print the tables, and write them where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, help="folder for training_steps.md")
    parser.add_argument("--rounds", type=float, default=1.0, help="multiple of the rounds")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--apps", nargs="*", choices=APPS, default=APPS, help="all by default")
    given = parser.parse_args()
    torch.set_num_threads(1)
    random.seed(0)
    where = "" if given.device == "cpu" else f" --device {given.device}"
    command = f"python -m benchmarks.training_steps --write docs --rounds {given.rounds:g}{where}"
    text = optimizer_table(optimizer_rows(given.device, given.rounds))
    if given.apps:
        text += application_table(application_rows(given.apps, given.device, given.rounds))
    text = _HEAD.format(machine=machine(), command=f"{command}  # {load()}") + text
    print(text)
    if given.write is not None:
        given.write.joinpath("training_steps.md").write_text(text)


if __name__ == "__main__":
    main()
