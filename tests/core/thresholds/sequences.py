"""Sequences of norms for thresholds, and what a threshold makes of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from gradclip_core import Threshold
from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.norms import Parts
from gradclip_core.parts.partition import Partition

UNUSABLE = (np.nan, np.inf, 0.0)


def parts_of(*norms: float, device: str = "cpu") -> Parts:
    """One part for each norm."""
    values = torch.tensor(norms, dtype=torch.float64, device=device)
    members = tuple((i,) for i in range(len(norms)))
    usable = values.isfinite() & (values > 0)
    return Parts(values, usable, Partition(members, len(norms)), Gradients())


def heavy_tailed(seed: int, steps: int = 320, parts: int = 1) -> np.ndarray:
    """Norms (steps, parts) whose level drifts, with spikes up to a million times the rest."""
    random = np.random.default_rng(seed)
    level = np.exp(np.cumsum(random.normal(0.0, 0.05, (steps, parts)), axis=0))
    spikes = np.where(random.random((steps, parts)) < 0.03, 10 ** random.uniform(1, 6), 1.0)
    return level * random.lognormal(0.0, 0.3, (steps, parts)) * spikes


def messy(seed: int, steps: int = 320, parts: int = 1) -> np.ndarray:
    """The same with about one norm in ten NaN, infinite or zero, the first among them."""
    random = np.random.default_rng(seed + 10_000)
    series = heavy_tailed(seed, steps, parts)
    broken = random.random(series.shape) < 0.1
    broken[0] = True
    return np.where(broken, random.choice(UNUSABLE, series.shape), series)


def thresholds_of(threshold: Threshold, series: np.ndarray) -> np.ndarray:
    """The thresholds (steps, parts) that a module gives one after the other."""
    rows = []
    for row in series:
        parts = parts_of(*row)
        limits = threshold(parts).expand(len(row))
        if threshold.settles:
            threshold.settle(parts, torch.minimum(parts.norms, limits))
        rows.append(limits.tolist())
    return np.array(rows)


def expected(oracle: Callable[[list[float]], float], series: np.ndarray) -> np.ndarray:
    """Thresholds of an oracle for one part, which sees the usable norms before each step."""
    columns = []
    for column in series.T:
        past: list[float] = []
        rows = []
        for norm in column.tolist():
            rows.append(oracle(past))
            if np.isfinite(norm) and norm > 0:
                past.append(norm)
        columns.append(rows)
    return np.array(columns).T
