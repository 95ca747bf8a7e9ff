"""Where in a matrix outliers sit: in few of its singular values, or in all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gradclip_core.advice.record import Record, replay
from gradclip_core.advice.statistics import percentile
from gradclip_core.thresholds import Median

# Outliers sit in few singular values where the stable rank falls to this share of the usual one,
# in this share of them at least. A rank that is low already leaves nothing to save.
FALL, MOST, LEAST_RANK = 0.5, 0.75, 3.0
LEAST_OUTLIERS = 3


@dataclass(frozen=True, slots=True)
class MatrixStatistics:
    """The gradient of one matrix over the usable steps.

    The stable rank ||G||_F^2 / ||G||_2^2 lies between 1, all of the norm in one singular value,
    and the number of singular values, all of them equal.

    singular: median of the largest singular value. stable_rank: the median. outliers: the steps
        whose largest singular value was over twice the running median. outlier_rank: median stable
        rank on these, None where there are none. concentrated: the share of them on which it was at
        most half of the usual one.
    """

    name: str
    singular: float
    stable_rank: float
    outliers: int
    outlier_rank: float | None
    concentrated: float


def describe_matrices(record: Record) -> tuple[MatrixStatistics, ...]:
    """Each parameter whose gradient has more than one singular value; the largest first."""
    usable = record.usable
    highest = replay(Median(2.0), usable.singular)
    found = []
    for i, name in enumerate(usable.names):
        there = usable.singular[:, i] > 0
        values, limits = usable.singular[there, i], highest[there, i]
        ranks = (usable.parameters[there, i] / values).square()
        # Of a vector both are one number, to what float32 has of it.
        if not len(ranks) or percentile(ranks, 50) < 1 + 1e-5:
            continue
        usual, outlying = percentile(ranks, 50), ranks[values > limits]
        few = outlying <= FALL * usual if usual >= LEAST_RANK else torch.zeros_like(outlying)
        found.append(
            MatrixStatistics(
                name=name,
                singular=percentile(values, 50),
                stable_rank=usual,
                outliers=len(outlying),
                outlier_rank=percentile(outlying, 50) if len(outlying) else None,
                concentrated=float(few.double().mean()) if len(outlying) else 0.0,
            )
        )
    return tuple(sorted(found, key=lambda matrix: -matrix.singular))


def concentrated(matrices: Sequence[MatrixStatistics]) -> str | None:
    """Why singular values are to be clamped, if the outliers of most matrices sit in few."""
    outliers = sum(matrix.outliers for matrix in matrices)
    few = sum(matrix.concentrated * matrix.outliers for matrix in matrices)
    if outliers < LEAST_OUTLIERS or few < MOST * outliers:
        return None
    first = max(matrices, key=lambda matrix: matrix.concentrated * matrix.outliers)
    return (
        f"Outliers sit in few singular values: in {few / outliers:.0%} of {outliers} of them the "
        f"stable rank fell to half of the usual one or less, in {first.name} from "
        f"{first.stable_rank:.3g} to {first.outlier_rank:.3g}. Scaling would make the rest of the "
        "matrix pay."
    )
