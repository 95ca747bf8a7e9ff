"""How long does clipping take, against torch and other libraries, on the same gradients?

    python -m benchmarks.clip_speed --write docs

All contenders of a rule run once in each round, in random order, on the same gradients, in one
process with one thread, by the process's CPU clock; each time is divided by that of the base
call in the same round. Gradients are restored before each call, so that a clip binds every time
or never. Printed are the median ratio and its quartiles.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import numpy as np
import torch
from torch import nn

from benchmarks.contenders import Clip, Params, Rule, rules
from benchmarks.history import history_rows
from benchmarks.page import Row, page, picture

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
    """The ratios of every contender to the base."""
    calls: list[tuple[str, Clip]] = [("", rule.base), *rule.others.items()]
    times: dict[str, list[float]] = {name: [] for name, _ in calls}
    for _ in range(rounds + 2):
        for name, clip in random.sample(calls, len(calls)):
            grads = [param.grad for param in params]
            torch._foreach_copy_(grads, originals)
            start = time.process_time()
            clip(params)
            times[name].append(time.process_time() - start)
    base = np.asarray(times.pop("")[2:])
    points = (0.25, 0.5, 0.75)
    return [
        Row(
            rule.name,
            rule.base_name,
            name,
            *np.quantile(np.asarray(t[2:]) / base, points),
        )
        for name, t in times.items()
    ]


def main() -> None:
    """Print the tables, or write them and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, help="folder for benchmarks.md and benchmarks.png")
    parser.add_argument("--rounds", type=float, default=1.0, help="multiple of the rounds")
    given = parser.parse_args()
    torch.set_num_threads(1)
    random.seed(0)
    found: dict[tuple[str, bool], list[Row]] = {}
    for name, (shapes, rounds) in SETS.items():
        params, originals = make_params(shapes)
        for binding in (False, True):
            rows = found.setdefault((name, binding), [])
            for rule in rules(params, binding):
                rows += measure(rule, params, originals, max(3, round(rounds * given.rounds)))
    command = f"python -m benchmarks.clip_speed --write docs --rounds {given.rounds:g}"
    text = page(found, history_rows(), command)
    if given.write is None:
        print(text)
        return
    given.write.joinpath("benchmarks.md").write_text(text)
    given.write.joinpath("benchmarks.png").write_bytes(picture(found))


if __name__ == "__main__":
    main()
