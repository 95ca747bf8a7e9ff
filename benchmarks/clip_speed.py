"""How long does clipping take, against torch, on the same tensors?

    python -m benchmarks.clip_speed

Every contender runs once in each round, in random order, on the same gradients, in one process
with one thread; its time is divided by that of torch's clip in the same round. Printed are the
median ratio and its quartiles. Gradients are restored before each call, so that a clip binds or
does not bind every time.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from gradclip_core import ClipNorm, ClipValue, Percentile

Clip = Callable[[list[nn.Parameter]], object]

# Sets of `performance.md` of the design: a small LSTM, a Transformer, many tiny, one large.
SETS: dict[str, list[tuple[int, ...]]] = {
    "lstm, 8 tensors, 1.05 M": [(512, 512)] * 4 + [(512,)] * 4,
    "transformer, 149 tensors, 25.5 M": [(768, 768)] * 43 + [(768,)] * 105 + [(50, 768)],
    "tiny, 1000 tensors, 0.12 M": [(11, 11)] * 1000,
    "big, 1 tensor, 50 M": [(50_000_000,)],
}


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to clip, and the name of the torch call it is compared with."""

    name: str
    clip: Clip
    base: Clip


def contenders(binding: bool) -> list[Contender]:
    """Ours beside torch's, with a threshold that binds always or never."""
    bound = 1e-3 if binding else 1e9

    def norm(params: list[nn.Parameter]) -> object:
        return nn.utils.clip_grad_norm_(params, bound)

    def peak(params: list[nn.Parameter]) -> object:
        return nn.utils.clip_grad_norm_(params, bound, norm_type=float("inf"))

    def value(params: list[nn.Parameter]) -> object:
        return nn.utils.clip_grad_value_(params, bound)

    ours = [
        Contender("global_norm", ClipNorm(bound), norm),
        Contender("global_norm, inf", ClipNorm(bound, norm_type=float("inf")), peak),
        Contender("per_parameter_norm", ClipNorm(bound, by="parameter"), norm),
        Contender("value", ClipValue(bound), value),
    ]
    # Equal norms are never above their own percentile.
    return ours if binding else [*ours, Contender("autoclip", ClipNorm(Percentile(10)), norm)]


def measure(shapes: list[tuple[int, ...]], contender: Contender, rounds: int) -> np.ndarray:
    """Ratios of the contender's time to torch's, one for each round."""
    generator = torch.Generator().manual_seed(0)
    params = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
    originals = [torch.randn(shape, generator=generator) for shape in shapes]
    for param, original in zip(params, originals, strict=True):
        param.grad = original.clone()
    ratios = []
    for _ in range(rounds + 1):
        times = {}
        calls = [("ours", contender.clip), ("torch", contender.base)]
        for who, clip in random.sample(calls, 2):
            for param, original in zip(params, originals, strict=True):
                assert param.grad is not None
                param.grad.copy_(original)
            start = time.process_time()
            clip(params)
            times[who] = time.process_time() - start
        ratios.append(times["ours"] / max(times["torch"], 1e-9))
    return np.asarray(ratios[1:])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=31, help="rounds for each row")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    random.seed(0)
    print("| tensors | strategy | binds | ratio to torch, median | quartiles |")
    print("| :--- | :--- | :--- | ---: | ---: |")
    for name, shapes in SETS.items():
        for binding in (False, True):
            for contender in contenders(binding):
                ratios = measure(shapes, contender, rounds)
                low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
                print(
                    f"| {name} | {contender.name} | {'yes' if binding else 'no'} "
                    f"| {middle:.2f} | {low:.2f} to {high:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
