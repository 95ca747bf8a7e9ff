"""Which clipping fits noise of low rank whose variance is infinite?

    python -m benchmarks.low_rank_noise

Stochastic gradient descent on |X|^2 / 2 over matrices, from gradients X + noise: a multiple of
u v^T with random unit vectors u and v and a symmetric Pareto law of tail index alpha, and a little
normal noise in all directions. For each number of steps K the rate is K^(-alpha / (3 alpha - 2))
and the threshold t K^(1 / (3 alpha - 2)), as the theorem on spectral clipping has them (Yukhimchuk
et al. 2026, arXiv:2605.11838), which bounds the mean squared gradient norm over the steps by a
multiple of K^((2 - 2 alpha) / (3 alpha - 2)). Each rule has the t, of several, that does best on
other noise.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from gradclip_core import ClipNorm, Clipper, ClipValue, NoClip

SIDE, MATRICES, START, FLOOR = 16, 48, 1.0, 0.2
INDICES, STEPS, SCALES = (1.25, 1.5, 1.75), (100, 300, 1000), (0.03, 0.1, 0.3, 1.0, 3.0)
RULES: dict[str, Callable[[float], Clipper]] = {
    "unclipped": lambda bound: NoClip(),
    "clamp": lambda bound: ClipNorm(
        bound, by="parameter", measure="spectral", response="clamp", eps=0.0
    ),
    "scale": lambda bound: ClipNorm(bound, by="parameter", measure="spectral", eps=0.0),
    "norm": lambda bound: ClipNorm(bound, by="parameter", eps=0.0),
    "element": lambda bound: ClipValue(bound),
}


def noise(generator: np.random.Generator, index: float) -> Tensor:
    """Noise for each matrix, (MATRICES, SIDE, SIDE)."""
    size = generator.pareto(index, MATRICES) * generator.choice((-1.0, 1.0), MATRICES)
    left, right = generator.standard_normal((2, MATRICES, SIDE))
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    spread = generator.standard_normal((MATRICES, SIDE, SIDE)) * FLOOR / math.sqrt(SIDE)
    drawn = size[:, None, None] * left[:, :, None] * right[:, None, :] + spread
    return torch.from_numpy(drawn)


def descend(rule: str, index: float, steps: int, scale: float, seed: int) -> float:
    """The mean squared gradient norm over the steps and matrices."""
    clipper = RULES[rule](scale * steps ** (1 / (3 * index - 2)))
    rate = steps ** (-index / (3 * index - 2))
    generator = np.random.default_rng((seed, round(100 * index)))
    start = START * torch.eye(SIDE, dtype=torch.float64)
    points = [nn.Parameter(start.clone()) for _ in range(MATRICES)]
    optimizer, total = torch.optim.SGD(points, rate), 0.0
    for _ in range(steps):
        with torch.no_grad():
            stacked = torch.stack(list(points))
            total += stacked.square().sum().item() / MATRICES
            for point, grad in zip(points, stacked + noise(generator, index), strict=True):
                point.grad = grad
        clipper(points)
        optimizer.step()
    return total / steps


def exponent(steps: Sequence[int], values: Sequence[float]) -> float:
    """The power of K by which values fall."""
    slope: float = np.polyfit(np.log(steps), np.log(values), 1)[0]
    return -slope


def row(rule: str, index: float, horizons: Sequence[int], seeds: int) -> tuple[float, list[float]]:
    """The scale that did best at the second horizon, and the mean of the seeds at each."""
    tried = {s: descend(rule, index, horizons[1], s, seed=1000) for s in SCALES}
    best = min(tried, key=tried.__getitem__)
    found = [
        float(np.mean([descend(rule, index, k, best, seed) for seed in range(seeds)]))
        for k in horizons
    ]
    return best, found


def table(
    indices: Sequence[float], horizons: Sequence[int], rules: Sequence[str], seeds: int
) -> list[str]:
    """A row of Markdown for each tail index and rule."""
    heads = [f"K = {k}" for k in horizons]
    lines = [f"| tail index | rule | t | {' | '.join(heads)} | exponent (theorem) |"]
    lines.append("| ---: | :--- " + "| ---: " * (len(heads) + 2) + "|")
    for index in indices:
        proven = (2 * index - 2) / (3 * index - 2)
        for rule in rules:
            scale, found = row(rule, index, horizons, seeds)
            values = " | ".join(f"{value:.3g}" for value in found)
            chosen = "" if rule == "unclipped" else f"{scale:g}"
            measured = f"{exponent(horizons, found):.2f} ({proven:.2f})"
            lines.append(f"| {index:g} | {rule} | {chosen} | {values} | {measured} |")
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--indices", type=float, nargs="*", default=INDICES)
    parser.add_argument("--steps", type=int, nargs="*", default=STEPS)
    parser.add_argument("--seeds", type=int, default=2, help="of the noise")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("\n".join(table(given.indices, given.steps, list(RULES), given.seeds)))


if __name__ == "__main__":
    main()
