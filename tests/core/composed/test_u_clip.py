"""U-Clip: the paper's two lines in NumPy, and what the carry must never do."""

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

from gradclip_core import ClipNorm, Clipper, ClipValue, NonFiniteGradientError, Percentile, UClip
from gradclip_core import chain as chained
from tests.core.copies import COPIES, copied

Holding = Callable[..., list[nn.Parameter]]
Arrays = list[np.ndarray]


def gradients(seed: int, scale: float, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Two gradients with heavy tails, and a bias that clipping would keep."""
    random = np.random.default_rng(seed)
    values = [scale * (random.standard_t(2, shape) + 0.3) for shape in ((2, 3), (4,))]
    return [torch.from_numpy(value).to(dtype) for value in values]


def by_norm(values: Arrays, bound: float) -> Arrays:
    norm = math.sqrt(sum((value**2).sum() for value in values))
    return [value * min(1.0, bound / norm) if norm else value for value in values]


def by_value(values: Arrays, bound: float) -> Arrays:
    return [np.clip(value, -bound, bound) for value in values]


def capped(carry: Arrays, used: Arrays, max_carry: float) -> Arrays:
    size, given = (math.sqrt(sum((v**2).sum() for v in values)) for values in (carry, used))
    return [value * min(1.0, max_carry * given / size) if size else value for value in carry]


RULES: dict[str, tuple[Any, Any]] = {
    "norm": (lambda bound: ClipNorm(bound, eps=0), by_norm),
    "value": (ClipValue, by_value),
}


@given(
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
    bound=st.floats(0.1, 5.0),
    max_carry=st.sampled_from([math.inf, 10.0, 1.0, 0.5]),
)
@settings(max_examples=2)
@pytest.mark.parametrize("rule", RULES)
def test_it_equals_the_paper_over_300_steps(
    holding: Holding, rule: str, seed: int, scale: float, bound: float, max_carry: float
) -> None:
    make, clip = RULES[rule]
    clipper = UClip(make(bound), max_carry=max_carry)
    carry: Arrays = [np.zeros((2, 3)), np.zeros(4)]
    for step in range(300):
        grads = gradients(seed + step, scale)
        params = holding(*grads)
        clipper(params)
        given = [grad.numpy() + kept for grad, kept in zip(grads, carry, strict=True)]
        used = clip(given, bound)
        carry = capped([g - u for g, u in zip(given, used, strict=True)], used, max_carry)
        for param, value in zip(params, used, strict=True):
            np.testing.assert_allclose(param.grad.numpy(), value, rtol=1e-7, atol=1e-9 * scale)


def test_nothing_is_lost(holding: Holding) -> None:
    """What was used and what is carried add up to the gradients: unbiased on average."""
    clipper = UClip(ClipNorm(1.0), max_carry=math.inf)
    given, used = torch.zeros(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    for step in range(300):
        grads = gradients(step, 1.0)
        params = holding(*grads)
        clipper(params)
        given, used = given + grads[1], used + params[1].grad
    torch.testing.assert_close(used + clipper.carry.get_buffer("1"), given)
    clipped = ClipNorm(1.0)
    assert clipped(holding(*gradients(0, 1.0))).clipped.item()
    assert (given - used).norm() > 0


def test_the_report_is_of_gradient_and_carry(holding: Holding) -> None:
    clipper = UClip(ClipNorm(1.0, eps=0))
    clipper(holding(torch.tensor([3.0])))
    report = clipper(holding(torch.tensor([0.5])))
    assert (report.norm.item(), report.clipped_norm.item(), report.clipped.item()) == (2.5, 1, True)
    assert clipper.carry.get_buffer("0").item() == 1.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_below_the_threshold_nothing_changes(holding: Holding, dtype: Any) -> None:
    grads = gradients(0, 0.01, dtype)
    params, clipper = holding(*grads), UClip(ClipNorm(100.0))
    for _ in range(3):
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad.clone()
        clipper(params)
        assert all(torch.equal(p.grad, g) for p, g in zip(params, grads, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_carries_what_rounding_took(holding: Holding, dtype: Any) -> None:
    clipper, used = UClip(ClipNorm(0.3), max_carry=math.inf), torch.zeros(4, dtype=torch.float64)
    given = torch.zeros(4, dtype=torch.float64)
    for step in range(300):
        grads = gradients(step, 0.02, dtype)
        params = holding(*grads)
        clipper(params)
        given, used = given + grads[1].double(), used + params[1].grad.double()
    assert clipper.carry.get_buffer("1").dtype is torch.float32
    torch.testing.assert_close(
        used + clipper.carry.get_buffer("1").double(), given, rtol=1e-4, atol=1e-4
    )


def test_a_dropped_step_leaves_the_carry(holding: Holding) -> None:
    for clipper in (UClip(ClipNorm(1.0)), UClip(ClipNorm(1.0, response="skip", max_skips=None))):
        clipper(holding(torch.tensor([0.5])))
        clipper.carry.get_buffer("0").fill_(0.25)
        (param,) = holding(torch.tensor([math.nan]))
        assert clipper(param).skipped.item() is True
        assert param.grad is None
        assert clipper.carry.get_buffer("0").item() == 0.25
    (param,) = holding(torch.tensor([5.0]))
    assert clipper(param).skipped.item() is True
    assert clipper.carry.get_buffer("0").item() == 0.25


@pytest.mark.parametrize("policy", ["skip", "zero", "pass", "raise"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, 1e30])
@pytest.mark.parametrize("make", [ClipNorm, ClipValue])
def test_no_gradient_poisons_or_freezes_the_carry(
    holding: Holding, make: Any, policy: Any, bad: float
) -> None:
    clipper = UClip(make(1.0, nonfinite=policy))
    for step in range(60):
        (param,) = holding(torch.tensor([bad if step in (5, 20) else 0.5, 0.25]))
        try:
            clipper(param)
        except NonFiniteGradientError:
            assert policy == "raise"
        assert clipper.carry.get_buffer("0").isfinite().all()
    torch.testing.assert_close(param.grad, torch.tensor([0.5, 0.25]), rtol=1e-5, atol=1e-5)


def test_a_huge_gradient_echoes_for_as_many_steps_as_allowed(holding: Holding) -> None:
    clipper = UClip(ClipNorm(1.0, eps=0), max_carry=4.0)
    used = []
    for grad in (1e30, *[0.0] * 6):
        (param,) = holding(torch.tensor([grad]))
        clipper(param)
        used.append(param.grad.item())
    assert used == pytest.approx([1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0])


def test_sparse_gradients_carry_the_rows_they_hold() -> None:
    embeddings = [nn.Embedding(4, 2, sparse=sparse) for sparse in (True, False)]
    clippers = [UClip(ClipNorm(0.5)), UClip(ClipNorm(0.5))]
    for tokens in ([1, 1, 3], [1, 3], [3, 1]):
        for embedding, clipper in zip(embeddings, clippers, strict=True):
            embedding.zero_grad()
            embedding(torch.tensor(tokens)).sum().backward()
            clipper(embedding)
    sparse, dense = (embedding.weight.grad for embedding in embeddings)
    torch.testing.assert_close(sparse.to_dense(), dense)
    torch.testing.assert_close(*(clipper.carry.get_buffer("0") for clipper in clippers))


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_goes_on_bit_for_bit(holding: Holding, kind: str) -> None:
    def make() -> Clipper:
        return UClip(chained(ClipValue(2.0), ClipNorm(Percentile(60, window=50))))

    def used(clipper: Clipper, steps: range) -> list[float]:
        values = []
        for step in steps:
            params = holding(*gradients(step, 1.0, torch.float32))
            clipper(params)
            values += [value for param in params for value in param.grad.flatten().tolist()]
        return values

    whole, clipper = make(), make()
    expected = used(whole, range(150)) and used(whole, range(150, 300))
    used(clipper, range(150))
    other = copied(kind, clipper, make)
    assert used(other, range(150, 300)) == expected
    torch.testing.assert_close(other.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert other.state_dict().keys() >= {"carry.0", "carry.1"}


def test_it_fits_one_set_of_parameters(holding: Holding) -> None:
    clipper = UClip(ClipNorm(1.0))
    clipper(holding(torch.ones(3)))
    with pytest.raises(ValueError, match=r"^this clipper holds a tensor of shape \(3,\) for param"):
        clipper(holding(torch.ones(4)))


def test_a_parameter_may_have_its_first_gradient_later(holding: Holding) -> None:
    first, second = holding(torch.tensor([3.0]), torch.tensor([4.0]))
    second.grad = None
    clipper = UClip(ClipNorm(1.0, eps=0))
    clipper([first, second])
    first.grad, second.grad = None, torch.tensor([4.0])
    clipper([first, second])
    assert [clipper.carry.get_buffer(name).item() for name in "01"] == [2.0, 3.0]


@pytest.mark.parametrize("bad", [0, -1.0, math.nan, True, "x", None])
def test_max_carry_is_checked(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^max_carry must be a number > 0, got"):
        UClip(ClipNorm(1.0), max_carry=bad)


def test_the_clipper_is_checked() -> None:
    with pytest.raises(TypeError, match=r"^clipper must be a Clipper, got 1.0$"):
        UClip(1.0)  # type: ignore[arg-type]
