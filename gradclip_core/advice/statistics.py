"""What a record says: how large, how heavy-tailed, how steady, and where."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gradclip_core.advice.record import Record, replay
from gradclip_core.thresholds import LogZScore, Median

PERCENTILES = (1, 10, 25, 50, 75, 90, 99, 100)
SPIKE_Z = 4.0
# The running median looks back over so many norms, and counts from so many on.
LOOKBACK, LEAST = 25, 10
# The share of the relative norms that is the tail, and the fewest norms for such an estimate.
TAIL_SHARE, TAIL_NORMS = 0.1, 40


@dataclass(frozen=True, slots=True)
class NormStatistics:
    """The norm of the whole gradient over the recorded steps.

    Relative norms are norms divided by the median of up to 25 norms before them, so that a level
    which drifts does not pass for a tail.

    steps, nonfinite: steps recorded, and how many of them had no finite norm. All that follows
        is of the usable steps, those with a finite norm > 0.
    broke_down: whether the last recorded step had no finite norm.
    percentiles: of the norms, linearly interpolated as in NumPy.
    tail_ratio: 99th percentile of the relative norms over their median; None below 40 of them.
    tail_index: Hill's estimate of the tail index alpha of the relative norms from their largest
        tenth: the smaller, the heavier; below 2 the variance is infinite. inf where all of these
        are equal, None below 40.
    drift: median of the last quarter of the norms over that of the first quarter.
    spikes: steps more than 4 deviations over the mean of the log-norm before them, and over twice
        the running median, since in a very calm stretch 4 deviations are little.
    """

    steps: int
    nonfinite: int
    broke_down: bool
    percentiles: dict[int, float]
    tail_ratio: float | None
    tail_index: float | None
    drift: float
    spikes: int


@dataclass(frozen=True, slots=True)
class PartStatistics:
    """One module or parameter: medians over the usable steps.

    norm: 2-norm of its gradient. share: its part of the squared norm of the whole gradient.
    ratio: that norm over the norm of its weights. zero_steps: the share of the steps in which
    its gradient was zero or missing.
    """

    name: str
    norm: float
    share: float
    ratio: float
    zero_steps: float


def describe_norms(record: Record) -> NormStatistics:
    """Statistics of the norms of a record with at least one usable step."""
    finite = record.norms.isfinite()
    norms = record.usable.norms
    quarter = max(len(norms) // 4, 1)
    relative = relative_norms(norms)
    enough = len(relative) >= TAIL_NORMS
    twice, highest = (
        replay(threshold, norms.unsqueeze(1)).squeeze(1)
        for threshold in (Median(2.0), LogZScore(SPIKE_Z))
    )
    return NormStatistics(
        steps=len(record.norms),
        nonfinite=int((~finite).sum()),
        broke_down=not bool(finite[-1]),
        percentiles={q: percentile(norms, q) for q in PERCENTILES},
        tail_ratio=percentile(relative, 99) / percentile(relative, 50) if enough else None,
        tail_index=hill(relative, math.ceil(TAIL_SHARE * len(relative))) if enough else None,
        drift=percentile(norms[-quarter:], 50) / percentile(norms[:quarter], 50),
        spikes=int(((norms > highest) & (norms > twice)).sum()),
    )


def describe_parameters(record: Record) -> tuple[PartStatistics, ...]:
    """Each parameter over the usable steps; the largest first."""
    usable = record.usable
    return _describe(usable.names, usable.parameters, usable.weights, usable.norms)


def describe_modules(record: Record) -> tuple[PartStatistics, ...]:
    """Each module over the usable steps; the largest first."""
    usable = record.usable
    norms, weights = usable.by_module(usable.parameters), usable.by_module(usable.weights)
    return _describe(tuple(usable.modules), norms, weights, usable.norms)


def _describe(
    names: tuple[str, ...], norms: Tensor, weights: Tensor, whole: Tensor
) -> tuple[PartStatistics, ...]:
    shares = (norms / whole.unsqueeze(1)).square()
    parts = [
        PartStatistics(
            name=name,
            norm=percentile(norms[:, i], 50),
            share=percentile(shares[:, i], 50),
            ratio=percentile(norms[:, i] / weights[:, i], 50),
            zero_steps=float((norms[:, i] == 0).double().mean()),
        )
        for i, name in enumerate(names)
    ]
    return tuple(sorted(parts, key=lambda part: -part.norm))


def percentile(values: Tensor, q: float) -> float:
    """The q-th percentile of values (t,), linearly interpolated."""
    return float(torch.quantile(values, q / 100))


def relative_norms(norms: Tensor) -> Tensor:
    """Norms (t,) > 0 over the median of up to 25 before them, from the eleventh on."""
    medians = replay(Median(1.0, LOOKBACK), norms.unsqueeze(1)).squeeze(1)
    return (norms / medians)[LEAST:]


def hill(values: Tensor, k: int) -> float:
    """Hill's estimate of the tail index of positive values from the k largest of them.

    alpha = k / sum_{i=1..k} log(x_(i) / x_(k+1)), x_(1) being the largest; inf where these are
    all equal. Source: Hill 1975, Annals of Statistics 3(5), 1163-1174.
    """
    largest = values.sort(descending=True).values[: k + 1].log()
    excess = float((largest[:k] - largest[k]).sum())
    return k / excess if excess > 0 else math.inf
