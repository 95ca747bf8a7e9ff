"""Whether outliers sit in few singular values, and what is advised then."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradclip_core import Advice, Advisor
from gradclip_core.advice.advice import make_advice
from gradclip_core.advice.matrices import describe_matrices
from tests.core.advice.records import lognormal, record_of

OUTLIERS = range(30, 120, 15)


def recorded(outlier: Callable[[Tensor], Tensor]) -> tuple[Advisor, list[Tensor]]:
    """An advisor on noise, every fifteenth matrix of which is an outlier."""
    generator = torch.Generator().manual_seed(0)
    net, advisor, seen = nn.Linear(12, 10), Advisor(), []
    for step in range(120):
        noise = torch.randn(10, 12, generator=generator)
        net.weight.grad = outlier(noise) if step in OUTLIERS else noise
        net.bias.grad = torch.randn(10, generator=generator)
        seen.append(net.weight.grad.double())
        advisor(net)
    return advisor, seen


def of_low_rank(noise: Tensor) -> Tensor:
    return noise + 4 * torch.outer(noise[:, 0], noise[1])


def as_a_whole(noise: Tensor) -> Tensor:
    return 20 * noise


def advised(outlier: Callable[[Tensor], Tensor]) -> Advice:
    return recorded(outlier)[0].advise()


def test_what_is_recorded_is_what_a_decomposition_finds() -> None:
    advisor, seen = recorded(of_low_rank)
    tops = [torch.linalg.matrix_norm(grad, 2).item() for grad in seen]
    assert advisor.record.singular[:, 0].tolist() == pytest.approx(tops, rel=1e-6)
    (matrix,) = describe_matrices(advisor.record)  # a bias is none
    ranks = [(grad.norm().item() / top) ** 2 for grad, top in zip(seen, tops, strict=True)]
    assert matrix.name == "weight"
    assert matrix.singular == pytest.approx(np.median(tops), rel=1e-6)
    assert matrix.stable_rank == pytest.approx(np.median(ranks), rel=1e-5)
    assert matrix.outliers == len(OUTLIERS)
    assert matrix.outlier_rank == pytest.approx(np.median([ranks[i] for i in OUTLIERS]), rel=1e-5)
    assert matrix.concentrated == 1.0


def test_outliers_in_few_singular_values_are_clamped_there() -> None:
    advice = advised(of_low_rank)
    assert advice.choice.line == "clipping=spectral_ema"
    assert advice.choice.clipper().measure == "spectral"
    assert "in few singular values: in 100% of 6 of them" in " ".join(advice.reasons)
    assert "their stable rank" in advice.text()
    (trial,) = (trial for trial in advice.trials if trial.candidate == advice.choice)
    assert trial.clipped_steps >= len(OUTLIERS) / 120


def test_outliers_of_the_whole_matrix_are_not() -> None:
    advice = advised(as_a_whole)
    (matrix,) = advice.matrices
    assert matrix.outliers == len(OUTLIERS)
    assert matrix.concentrated == 0.0
    assert "spectral" not in advice.choice.line


def test_a_matrix_of_low_rank_has_nothing_to_save() -> None:
    norms = lognormal(300)
    norms[50:300:40] *= 20
    low = np.where(norms > 5, 1.01, 2.5)
    assert "spectral" not in make_advice(record_of(norms, ranks=low), None).choice.line
    high = np.where(norms > 5, 1.01, 25.0)
    assert make_advice(record_of(norms, ranks=high), None).choice.line == "clipping=spectral_ema"


def test_what_was_calm_stays_a_matter_of_the_safety_net() -> None:
    advice = make_advice(record_of(lognormal(), ranks=5.0), None)
    assert advice.choice.line == "clipping=rolling_median"
    lines = [trial.candidate.line for trial in advice.trials]
    assert "clipping=spectral_ema" in lines
    (fixed,) = (line for line in lines if line.startswith("clipping=spectral "))
    assert fixed.startswith("clipping=spectral clipping.max_norm=")


def test_vectors_have_no_rank_and_no_candidate() -> None:
    advice = make_advice(record_of(lognormal()), None)
    assert advice.matrices == ()
    assert "stable rank" not in advice.text()
    assert not any("spectral" in trial.candidate.line for trial in advice.trials)
