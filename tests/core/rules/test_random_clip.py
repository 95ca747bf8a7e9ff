"""Randomised clipping: chances as published, draws that are the same everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gradclip_core import ClipNorm, Clipper, Percentile, RandomClip
from gradclip_core.rules.random_stream import uniform
from tests.core.copies import COPIES, copied

Holding = Callable[..., list[nn.Parameter]]
MASK = 2**64 - 1


def splitmix(state: int) -> int:
    """The output function of SplitMix64, in Python's whole numbers."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


@given(st.integers(0, 2**62), st.integers(0, 10**9), st.integers(1, 20))
@settings(max_examples=60)
def test_draws_equal_splitmix64(seed: int, drawn: int, size: int) -> None:
    golden = 0x9E3779B97F4A7C15
    start = splitmix((seed * golden) & MASK)
    states = [(start + (drawn + i) * golden) & MASK for i in range(1, size + 1)]
    expected = [(splitmix(state) >> 11) * 2.0**-53 for state in states]
    assert uniform(seed, torch.tensor(drawn), size).tolist() == expected


def test_draws_are_uniform_and_streams_differ() -> None:
    drawn = [uniform(seed, torch.tensor(0), 20_000) for seed in (0, 1)]
    for values in drawn:
        counts = torch.histc(values, 20, 0.0, 1.0)
        # Chi-squared with 19 degrees of freedom: 43.8 is passed once in a thousand.
        assert ((counts - 1000).square() / 1000).sum() < 43.8
        assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 0.03
    assert abs(np.corrcoef(*drawn)[0, 1]) < 0.03


@pytest.mark.parametrize(("power", "exponent"), [("linear", 1), ("square", 2)])
@pytest.mark.parametrize("beta", [0.2, 0.8])
@pytest.mark.parametrize("norm", [1.25, 4.0, 1e6])
def test_the_chance_of_a_clip_is_the_published_one(
    holding: Holding, power: Any, exponent: int, beta: float, norm: float
) -> None:
    clipper = RandomClip(1.0, by="parameter", beta=beta, power=power, eps=0)
    params = holding(*[torch.tensor([norm])] * 1000)
    report = clipper(params)
    values = np.array([param.grad.item() for param in params])
    assert set(values) <= {1.0, np.float32(norm)}
    chance = beta ** ((1 / norm) ** exponent)
    assert abs((values == 1.0).mean() - chance) < 4 * math.sqrt(chance * (1 - chance) / 1000) + 1e-9
    assert report.over.all()
    assert report.clipped_norms.tolist() == pytest.approx(values.tolist())
    assert clipper.drawn.item() == 1000


def test_there_is_less_bias_than_by_clipping_always(holding: Holding) -> None:
    norms = np.random.default_rng(0).pareto(1.5, 2000) + 0.1

    def mean(clipper: Clipper) -> float:
        params = holding(*[torch.tensor([norm]) for norm in norms])
        clipper(params)
        return float(np.mean([param.grad.item() for param in params]))

    always = mean(ClipNorm(1.0, by="parameter"))
    spared = mean(RandomClip(1.0, by="parameter", beta=0.5))
    assert always < spared < norms.mean()


def test_below_the_threshold_nothing_is_drawn(holding: Holding) -> None:
    clipper = RandomClip(1.0)
    (param,) = holding(torch.tensor([1.0]))
    report = clipper(param)
    assert (param.grad.item(), report.clipped.item(), clipper.drawn.item()) == (1.0, False, 0)


@pytest.mark.parametrize("policy", ["skip", "zero", "pass"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, 1e30])
def test_no_gradient_poisons_or_freezes_it(holding: Holding, policy: Any, bad: float) -> None:
    clipper = RandomClip(Percentile(50), nonfinite=policy)
    for step in range(300):
        (param,) = holding(torch.tensor([bad if step % 50 == 7 else 1.0 + math.cos(step)]))
        clipper(param)
    assert clipper.threshold.history.isfinite().all()
    (param,) = holding(torch.tensor([1e30]))
    clipper(param)
    assert 0 < param.grad.item() < 10


def test_the_same_seed_draws_the_same_on_every_rank(holding: Holding) -> None:
    def run(seed: int) -> list[float]:
        clipper = RandomClip(1.0, seed=seed)
        return [clipper(holding(torch.tensor([2.0]))).coefficient.item() for _ in range(300)]

    torch.manual_seed(1)
    first = run(5)
    torch.manual_seed(2)
    assert run(5) == first
    assert run(6) != first


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_goes_on_bit_for_bit(holding: Holding, kind: str) -> None:
    def make() -> Clipper:
        return RandomClip(Percentile(30), by="parameter")

    def run(clipper: Clipper, steps: range) -> list[float]:
        grads = [(1.0 + step % 7, 2.0 + step % 5) for step in steps]
        reports = [clipper(holding(*map(torch.tensor, pair))) for pair in grads]
        return [norm for report in reports for norm in report.clipped_norms.tolist()]

    whole, clipper = make(), make()
    expected = run(whole, range(150)) and run(whole, range(150, 300))
    run(clipper, range(150))
    other = copied(kind, clipper, make)
    assert run(other, range(150, 300)) == expected
    torch.testing.assert_close(other.state_dict(), whole.state_dict(), rtol=0, atol=0)


def test_sparse_gradients_are_clipped() -> None:
    embedding = nn.Embedding(4, 2, sparse=True)
    (1e9 * embedding(torch.tensor([1, 1, 3]))).sum().backward()
    RandomClip(1.0, eps=0)(embedding)
    assert embedding.weight.grad.to_dense().norm().item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "allowed", "bad"),
    [
        *[("beta", "a number > 0 and < 1", v) for v in (0, 1, -0.5, math.nan, True, "x", None)],
        *[("power", "one of linear, square", v) for v in ("cubic", None, 1)],
        *[("seed", "an integer >= 0", v) for v in (-1, 1.5, True, "x", None)],
    ],
)
def test_arguments_are_checked(name: str, allowed: str, bad: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be {allowed}, got") as caught:
        RandomClip(1.0, **{name: bad})
    assert str(caught.value).endswith(repr(bad))
