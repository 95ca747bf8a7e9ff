"""How long does clipping take, against torch and other libraries, on the same gradients?

    python -m benchmarks.clip_speed --write docs

Each contender takes turns with the base call, in random order, on the same gradients, in one
process; each time is divided by that of the base in the same round. On one thread time is that of
the process's CPU clock; on several (`--threads 1 2`), where waiting counts, it is that on the wall,
and the peers, which bring threads of their own, stay out. In a round the base runs twice, so that
its ratio to itself shows the noise, and so does the contender, so that neither finds its code
warmer than the other does. Gradients are restored before each call, so that a clip binds every time
or never, the last first, as a backward pass leaves them. Printed are the median ratio and its
quartiles. With `--store FILE` a part can be measured at a time (`--sets`, `--rules`): the page is
made of all that the file holds.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shlex
import time
from pathlib import Path
from sys import argv

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import numpy as np
import torch
from torch import nn

from benchmarks.accuracy import accuracy_rows
from benchmarks.contenders import Clip, Params, Rule, rules
from benchmarks.history import history_rows
from benchmarks.machine import load
from benchmarks.measured import Measured, Row
from benchmarks.page import page, picture

# A small LSTM, a Transformer, many tiny tensors, one large one; and rounds for each.
SETS: dict[str, tuple[list[tuple[int, ...]], int]] = {
    "LSTM: 8 tensors, 1.05 M": ([(512, 512)] * 4 + [(512,)] * 4, 41),
    "Transformer: 149 tensors, 25.5 M": (
        [(768, 768)] * 43 + [(768,)] * 105 + [(50, 768)],
        9,
    ),
    "tiny: 1,000 tensors, 0.12 M": ([(11, 11)] * 1000, 21),
    "large: 1 tensor, 50 M": ([(50_000_000,)], 7),
}


def make_params(shapes: list[tuple[int, ...]]) -> tuple[Params, list[torch.Tensor]]:
    """Parameters with normal gradients, and a copy of these."""
    generator = torch.Generator().manual_seed(0)
    params = [nn.Parameter(torch.ones(shape)) for shape in shapes]
    originals = [torch.randn(shape, generator=generator) for shape in shapes]
    for param, original in zip(params, originals, strict=True):
        param.grad = original.clone()
    return params, originals


def measure(rule: Rule, params: Params, originals: list[torch.Tensor], rounds: int) -> list[Row]:
    """The ratios of every contender, and of the base once more, to the base."""
    again = f"`{rule.base_name}` again"
    rows: list[Row] = []
    for contender in rule.contenders.items():
        calls = [("", rule.base), (again, rule.base), contender, contender]
        rows += _take_turns(rule.base_name, calls, params, originals, rounds)
    return [row for i, row in enumerate(rows) if row.contender != again or i == 0]


def _take_turns(
    base_name: str,
    calls: list[tuple[str, Clip]],
    params: Params,
    originals: list[torch.Tensor],
    rounds: int,
) -> list[Row]:
    times: dict[str, list[float]] = {name: [] for name, _ in calls}
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    for _ in range(rounds + 2):
        for name, clip in random.sample(calls, len(calls)):
            grads = [param.grad for param in params]
            torch._foreach_copy_(grads[::-1], originals[::-1])
            start = clock()
            clip(params)
            times[name].append(clock() - start)
    by_round = {name: np.asarray(t).reshape(rounds + 2, -1)[2:] for name, t in times.items()}
    base = by_round.pop("")
    points = (0.25, 0.5, 0.75)
    return [
        Row(base_name, name, *np.quantile(each / base, points).tolist())
        for name, each in by_round.items()
    ]


def measure_all(measured: Measured, given: argparse.Namespace) -> None:
    """Measure the sets and rules that were asked for, on the threads that were."""
    random.seed(0)
    for threads, (name, (shapes, rounds)) in itertools.product(given.threads, SETS.items()):
        if given.sets is not None and name.partition(":")[0] not in given.sets:
            continue
        torch.set_num_threads(threads)
        params, originals = make_params(shapes)
        title = name if threads == 1 else f"{name}, {threads} threads"
        for binding, rule in ((b, r) for b in (False, True) for r in rules(params, b)):
            if given.rules is None or rule.name in given.rules:
                number = max(3, round(rounds * given.rounds))
                chosen = rule if threads == 1 else rule.without_peers()
                rows = measure(chosen, params, originals, number)
                measured.rows.setdefault(title, {}).setdefault(rule.name, {})[binding] = rows
    torch.set_num_threads(1)
    if given.rules is None or "thresholds" in given.rules:
        measured.history = history_rows()
    if given.rules is None or "accuracy" in given.rules:
        measured.accuracy = accuracy_rows()


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, help="folder for benchmarks.md and benchmarks.png")
    parser.add_argument("--rounds", type=float, default=1.0, help="multiple of the rounds")
    names = [name.partition(":")[0] for name in SETS]
    parser.add_argument("--sets", nargs="*", choices=names, help="all by default")
    parser.add_argument(
        "--rules", nargs="*", help="as in the tables, thresholds or accuracy; all by default"
    )
    parser.add_argument("--threads", type=int, nargs="*", default=[1], help="1 by default")
    parser.add_argument("--store", type=Path, help="file that keeps what was measured")
    return parser.parse_args()


def _command(given: argparse.Namespace) -> str:
    """What was called, whatever the names of file and folder."""
    named = {str(given.store): "FILE", str(given.write): "docs"}
    return shlex.join(
        ["python", "-m", "benchmarks.clip_speed", *(named.get(a, a) for a in argv[1:])]
    )


def main() -> None:
    """Print the tables, and write them and the picture where that is asked for."""
    given = arguments()
    measured = Measured.read(given.store)
    measure_all(measured, given)
    measured.commands.append(f"{_command(given)}  # {load()}")
    if given.store is not None:
        measured.write(given.store)
    text = page(measured)
    print(text)
    if given.write is not None:
        given.write.joinpath("benchmarks.md").write_text(text)
        given.write.joinpath("benchmarks.png").write_bytes(picture(measured))


if __name__ == "__main__":
    main()
