"""The noise-aware threshold: its formula in NumPy, and what must not poison or freeze it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gradclip_core import ClipNorm, Clipper, NoiseAware
from tests.core.copies import COPIES, copied

Holding = Callable[..., list[nn.Parameter]]


def gradient(seed: int, scale: float, shape: tuple[int, ...] = (3, 4)) -> np.ndarray:
    """A steady signal, noise around it, and now and then a spike."""
    random = np.random.default_rng(seed)
    spike = 10 ** random.uniform(1, 4) if random.random() < 0.05 else 1.0
    return scale * spike * (0.5 + random.normal(size=shape))


class Oracle:
    """The same with a list of all gradients and explicit weights, b^(t - i)."""

    def __init__(self, z: float, decay: float, warmup: int) -> None:
        self.z, self.decay, self.warmup = z, decay, warmup
        self.seen: list[np.ndarray] = []

    def step(self, grad: np.ndarray) -> float:
        threshold = math.inf
        if self.seen and len(self.seen) >= self.warmup:
            weights = self.decay ** np.arange(len(self.seen))[::-1]
            weights /= weights.sum()
            past = np.stack([seen.ravel() for seen in self.seen])
            mean = weights @ past
            spread = weights @ ((past - mean) ** 2).sum(1)
            signal = float(np.linalg.norm(mean))
            threshold = signal + self.z * max(math.sqrt(spread), signal / 1000)
        norm = float(np.linalg.norm(grad))
        if norm > 0:
            self.seen.append(grad * min(1.0, threshold / norm))
        return threshold


@given(
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    z=st.floats(1.1, 4.0),
    decay=st.sampled_from([0.0, 0.5, 0.9, 0.98]),
    warmup=st.sampled_from([1, 5, 25]),
)
@settings(max_examples=2)
@pytest.mark.parametrize("by", ["model", "parameter"])
def test_it_equals_the_formula_over_300_steps(
    holding: Holding, by: Any, seed: int, scale: float, z: float, decay: float, warmup: int
) -> None:
    clipper = ClipNorm(NoiseAware(z, decay, warmup), by=by, eps=0)
    oracles = [Oracle(z, decay, warmup) for _ in range(2 if by == "parameter" else 1)]
    for step in range(300):
        grads = [gradient(seed + step, scale), gradient(seed + 7 * step, scale, (5,))]
        if step % 60 == 30:
            grads = [0 * grad for grad in grads]
        report = clipper(holding(*[torch.from_numpy(grad) for grad in grads]))
        shares = grads if by == "parameter" else [np.concatenate([g.ravel() for g in grads])]
        expected = [oracle.step(share) for oracle, share in zip(oracles, shares, strict=True)]
        if step % 60 != 30:
            np.testing.assert_allclose(report.thresholds.tolist(), expected, rtol=1e-6)


def test_a_spike_is_cut_and_does_not_lift_the_threshold(holding: Holding) -> None:
    clipper = ClipNorm(NoiseAware(), by="parameter")
    for seed in range(100):
        random = np.random.default_rng(seed)
        before = clipper(holding(torch.from_numpy(0.5 + random.normal(size=20)))).threshold.item()
    report = clipper(holding(torch.full((20,), 1e6, dtype=torch.float64)))
    assert report.clipped_norm.item() == pytest.approx(report.threshold.item(), rel=1e-5)
    after = clipper(holding(torch.ones(20, dtype=torch.float64))).threshold.item()
    assert after < 1.2 * before


def test_a_lasting_new_level_is_let_through(holding: Holding) -> None:
    clipper = ClipNorm(NoiseAware(), by="parameter")
    clipped = []
    for step in range(600):
        grad = np.random.default_rng(step).normal(size=20) * (1.0 if step < 200 else 100.0)
        clipped.append(clipper(holding(torch.from_numpy(grad))).clipped.item())
    assert all(clipped[200:220])
    assert not any(clipped[500:])


@pytest.mark.parametrize("policy", ["skip", "zero", "pass"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, 1e30])
def test_no_gradient_poisons_or_freezes_it(holding: Holding, policy: Any, bad: float) -> None:
    clipper = ClipNorm(NoiseAware(), by="parameter", nonfinite=policy)
    for step in range(300):
        grad = 0.5 + np.random.default_rng(step).normal(size=8)
        grad[3] = bad if step % 50 == 40 else grad[3]
        (param,) = holding(torch.from_numpy(grad))
        report = clipper(param)
    assert clipper.threshold.mean.get_buffer("0").isfinite().all()
    assert report.threshold.item() < 30
    assert report.clipped_norm.item() > 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_mean_is_kept_in_float32_at_least(holding: Holding, dtype: Any) -> None:
    clipper = ClipNorm(NoiseAware(warmup_steps=2))
    for value in (1.0, 1.001, 1.002, 1.003):
        clipper(holding(torch.full((3,), value, dtype=dtype)))
    assert clipper.threshold.mean.get_buffer("0").dtype is torch.float32


@pytest.mark.parametrize("by", ["model", "parameter", "row"])
def test_sparse_gradients_that_hold_every_row_equal_dense_ones(by: Any) -> None:
    embeddings = [nn.Embedding(3, 2, sparse=sparse) for sparse in (True, False)]
    clippers = [ClipNorm(NoiseAware(warmup_steps=3), by=by) for _ in range(2)]
    for step in range(40):
        reports = []
        for embedding, clipper in zip(embeddings, clippers, strict=True):
            embedding.zero_grad()
            weights = torch.from_numpy(gradient(step, 1.0, (3, 2))).float()
            (embedding(torch.tensor([0, 1, 2])) * weights).sum().backward()
            reports.append(clipper(embedding))
        torch.testing.assert_close(reports[0].thresholds, reports[1].thresholds)


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_goes_on_bit_for_bit(holding: Holding, kind: str) -> None:
    def make() -> Clipper:
        return ClipNorm(NoiseAware(), by="parameter")

    def run(clipper: Clipper, steps: range) -> list[Tensor]:
        grads = [torch.from_numpy(gradient(step, 1.0)).float() for step in steps]
        return [clipper(holding(grad, grad[0])).thresholds for grad in grads]

    whole, clipper = make(), make()
    expected = run(whole, range(150)) and run(whole, range(150, 300))
    run(clipper, range(150))
    other = copied(kind, clipper, make)
    assert torch.equal(torch.stack(run(other, range(150, 300))), torch.stack(expected))
    torch.testing.assert_close(other.state_dict(), whole.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "allowed", "bad"),
    [
        *[("deviations", "a finite number > 0", v) for v in (0, -1.0, math.inf, True, "x", None)],
        *[("decay", "a number >= 0 and < 1", v) for v in (1.0, -0.1, True, "x", None)],
        *[("warmup_steps", "an integer >= 1", v) for v in (0, 1.5, True, "x", None)],
    ],
)
def test_arguments_are_checked(name: str, allowed: str, bad: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be {allowed}, got"):
        NoiseAware(**{name: bad})
