"""How long does spectral clipping take, beside a decomposition, clipping by norm, and products?

    python -m benchmarks.spectral_speed --write docs

Each contender takes turns with its base, in random order, in one process and on one thread, by the
process's CPU clock; its time is divided by that of the base in the same round. Gradients are
restored before each call. Printed are the median ratio and its quartiles.
"""

from __future__ import annotations

import argparse
import random
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.machine import load, machine
from gradclip_core import ClipNorm, NoClip
from gradclip_core.parts import newton_schulz

Call = Callable[[], object]
SHAPES = ((512, 512), (768, 3072), (1024, 1024))
OUTLIERS, FAR = 3, 4.0  # singular values over the noise, and by how much


@dataclass(frozen=True, slots=True)
class Pair:
    """Two calls on the same matrices, and the ratio that was to be reached, if any."""

    what: str
    matrices: str
    base_name: str
    base: Call
    call: Call
    restore: Call
    goal: float | None = None
    rounds: int = 1  # times as many: short calls scatter more


def matrix(shape: tuple[int, int], outliers: int = OUTLIERS) -> Tensor:
    """Noise whose singular values end near 1, and some that are `FAR` times as large."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = shape
    noise = torch.randn(shape, generator=generator) / (rows**0.5 + columns**0.5)
    left = torch.linalg.qr(torch.randn(rows, outliers, generator=generator))[0]
    right = torch.linalg.qr(torch.randn(columns, outliers, generator=generator))[0]
    given: Tensor = noise + FAR * left @ right.T
    return given


def holding(given: Sequence[Tensor]) -> tuple[list[nn.Parameter], Call]:
    """Parameters with these gradients, and what gives them these gradients again."""
    params = [nn.Parameter(torch.zeros_like(one)) for one in given]
    for param, one in zip(params, given, strict=True):
        param.grad = one.clone()

    def restore() -> None:
        for param, one in zip(params, given, strict=True):
            assert param.grad is not None
            param.grad.copy_(one)

    return params, restore


def clamp(bound: float) -> ClipNorm:
    """Spectral clipping of each parameter."""
    return ClipNorm(bound, by="parameter", measure="spectral", response="clamp")


def pairs(shapes: Sequence[tuple[int, int]]) -> Iterator[Pair]:
    """What is timed against what."""
    params, restore = holding([matrix(shapes[0])] * 4)
    spectral, by_norm = clamp(1e6), ClipNorm(1e6, by="parameter")
    name = f"4 of {shapes[0][0]} x {shapes[0][1]}"
    yield Pair(
        "clamp, under the bound of the norm",
        name,
        'ClipNorm(by="parameter")',
        lambda: by_norm(params),
        lambda: spectral(params),
        restore,
        1.0,
        rounds=20,
    )
    for shape in shapes:
        yield from of_one(matrix(shape), f"{shape[0]} x {shape[1]}")


def of_one(given: Tensor, name: str) -> Iterator[Pair]:
    """The pairs that one matrix serves."""
    params, restore = holding([given])
    few, many, measure = clamp(2.0), clamp(0.2), NoClip(measure="spectral")

    def decomposed() -> object:
        return torch.linalg.svd(given, full_matrices=False)

    svd = "torch.linalg.svd"
    yield Pair(
        f"clamp, {OUTLIERS} values over",
        name,
        svd,
        decomposed,
        lambda: few(params),
        restore,
        0.10,
    )
    yield Pair("the largest value alone", name, svd, decomposed, lambda: measure(params), restore)
    yield Pair("clamp, most values over", name, svd, decomposed, lambda: many(params), restore)
    tall = given if given.shape[0] >= given.shape[1] else given.T
    unit = (tall / tall.norm()).contiguous().unsqueeze(0)
    bound = torch.tensor([0.01])
    products = products_of(unit)
    yield Pair(
        "soft clamp by products",
        name,
        f"the same {5 * newton_schulz.STEPS} products",
        products,
        lambda: newton_schulz.soft_clamp(unit, bound),
        restore,
        1.2,
    )
    soft = ClipNorm(1.0, by="parameter", measure="spectral", response="soft_clamp")
    yield Pair(
        "soft clamp on CPU", name, "the same products", products, lambda: soft(params), restore
    )


def products_of(values: Tensor) -> Call:
    """As many products of the same shapes as the soft clamp makes."""
    square = torch.eye(values.shape[2]).unsqueeze(0)

    def multiply() -> None:
        for _ in range(newton_schulz.STEPS):
            values.mT @ values
            values @ square
            square @ square
            square @ square
            square @ square

    return multiply


def ratios(pair: Pair, rounds: int) -> np.ndarray:
    """The time of the call over that of the base, in each round."""
    calls, times = [pair.base, pair.call], np.zeros((rounds + 1, 2))
    for row in times:
        for i in random.sample(range(2), 2):
            pair.restore()
            start = time.process_time()
            calls[i]()
            row[i] = time.process_time() - start
    kept = times[1:]
    found: np.ndarray = kept[:, 1] / kept[:, 0]
    return found


def table(rounds: int, shapes: Sequence[tuple[int, int]] = SHAPES) -> list[str]:
    """A row of Markdown for each pair."""
    lines = ["| what | matrices | base | ratio | goal |", "| :--- | :--- | :--- | ---: | ---: |"]
    for pair in pairs(shapes):
        low, middle, high = np.quantile(ratios(pair, rounds * pair.rounds), (0.25, 0.5, 0.75))
        goal = "" if pair.goal is None else f"≤ {pair.goal:.2f}"
        missed = pair.goal is not None and middle > pair.goal
        median = f"**{middle:.2f}**" if missed else f"{middle:.2f}"
        lines.append(
            f"| {pair.what} | {pair.matrices} | `{pair.base_name}` "
            f"| {median} ({low:.2f} to {high:.2f}) | {goal} |"
        )
    return lines


_NOTES = f"""\
What is timed: noise with {OUTLIERS} singular values that are {FAR:g} times as large, under
a bound between. "Under the bound of the norm": steps in which no matrix has a 2-norm over its
bound, so that none is decomposed. "Most values over": all eigenvalues are taken. The soft clamp by
products is what devices do; on CPU eigenvalues in float64 cost less."""


def main() -> None:
    """Print the page, and write it where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--write", type=Path, help="folder for spectral_speed.md")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of each pair")
    given = parser.parse_args()
    torch.set_num_threads(1)
    random.seed(0)
    command = shlex.join(["python", "-m", "benchmarks.spectral_speed", *sys.argv[1:]])
    page = [
        "# How fast spectral clipping is",
        "",
        "Time divided by that of the base in the same round, float32 on CPU, one thread; median,",
        "with quartiles in brackets. A ratio over its goal is bold. Made by",
        "",
        f"```bash\n{command}  # {load()}\n```",
        "",
        f"on {machine()}.",
        "",
        *table(given.rounds),
        "",
        *_NOTES.splitlines(),
        "",
    ]
    text = "\n".join(page)
    print(text)
    if given.write is not None:
        given.write.joinpath("spectral_speed.md").write_text(text)


if __name__ == "__main__":
    main()
