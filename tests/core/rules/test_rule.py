"""Rules: equal to torch, and the properties that make them clippers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gradclip_core import ClipNorm, ClipValue, Fixed, Percentile, Rule
from gradclip_core.parts.norms import Parts

pytestmark = pytest.mark.usefixtures("either_way")
Holding = Callable[..., list[nn.Parameter]]
HALF, FULL = [torch.float16, torch.bfloat16], [torch.float32, torch.float64]
RTOL = {torch.float32: 2e-5, torch.float64: 1e-12}

shapes = st.lists(st.lists(st.integers(1, 6), max_size=3), min_size=1, max_size=5)
seeds = st.integers(0, 10_000)
scales = st.sampled_from([1e-2, 1.0, 100.0])
orders = st.sampled_from([0.5, 1.0, 2.0, 3.0, math.inf])
bounds = st.floats(1e-2, 1e3)
examples = settings(max_examples=60)


def random_grads(seed: int, shape_list: list[list[int]], scale: float, dtype: Any) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(s, generator=generator) * scale).to(dtype) for s in shape_list]


def flat(params: list[nn.Parameter]) -> Tensor:
    return torch.cat([param.grad.double().flatten() for param in params if param.grad is not None])


@given(seeds, shapes, scales, st.sampled_from(FULL), orders, bounds)
@examples
def test_clip_norm_equals_torch(
    holding: Holding, seed: int, shape: Any, scale: float, dtype: Any, p: float, bound: float
) -> None:
    grads = random_grads(seed, shape, scale, dtype)
    ours, theirs = holding(*grads), holding(*grads)
    report = ClipNorm(bound, norm_type=p)(ours)
    norm = nn.utils.clip_grad_norm_(theirs, bound, norm_type=p)
    assert report.norm.item() == pytest.approx(norm.item(), rel=RTOL[dtype])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=RTOL[dtype], atol=0)


@given(seeds, shapes, scales, st.sampled_from(HALF), orders, bounds)
@examples
def test_half_precision_equals_float64_to_the_last_place(
    holding: Holding, seed: int, shape: Any, scale: float, dtype: Any, p: float, bound: float
) -> None:
    grads = random_grads(seed, shape, scale, dtype)
    params = holding(*grads)
    norm = torch.linalg.vector_norm(flat(params), p).item()
    factor = bound / (norm + 1e-6) if norm > bound else 1.0
    ClipNorm(bound, norm_type=p)(params)
    info = torch.finfo(dtype)
    for param, grad in zip(params, grads, strict=True):
        expected = (grad.double() * factor).to(dtype)
        torch.testing.assert_close(
            param.grad, expected, rtol=info.eps, atol=info.smallest_normal * info.eps
        )


@given(seeds, shapes, scales, st.sampled_from(HALF + FULL), bounds)
@examples
def test_clip_value_is_torch(
    holding: Holding, seed: int, shape: Any, scale: float, dtype: Any, bound: float
) -> None:
    grads = random_grads(seed, shape, scale, dtype)
    ours, theirs = holding(*grads), holding(*grads)
    report = ClipValue(bound)(ours)
    nn.utils.clip_grad_value_(theirs, bound)
    assert report.norm.item() == max(grad.abs().max().item() for grad in grads)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a.grad, b.grad)


def test_a_float16_norm_beyond_its_range_neither_is_infinite_nor_clears_the_gradient(
    holding: Holding,
) -> None:
    (param,) = holding(torch.full((100,), 9486.8).half())
    report = ClipNorm(1.0)(param)
    assert report.norm.item() == pytest.approx(94868, rel=1e-3)
    assert param.grad.tolist() == pytest.approx([0.1] * 100, rel=1e-3)


@given(seeds, shapes, scales, st.sampled_from([torch.bfloat16, *FULL]), orders, bounds)
@examples
def test_the_norm_is_bounded_the_direction_kept_and_twice_is_once(
    holding: Holding, seed: int, shape: Any, scale: float, dtype: Any, p: float, bound: float
) -> None:
    params = holding(*random_grads(seed, shape, scale, dtype))
    clipper = ClipNorm(bound, norm_type=p, eps=0)
    before, eps = flat(params), 16 * torch.finfo(dtype).eps
    clipper(params)
    once = flat(params)
    clipper(params)
    shrink = min(1.0, bound / torch.linalg.vector_norm(before, p).item())
    assert torch.linalg.vector_norm(once, p) <= bound * (1 + eps)
    torch.testing.assert_close(once, before * shrink, rtol=eps, atol=0)
    torch.testing.assert_close(flat(params), once, rtol=eps, atol=0)


@given(seeds, shapes, st.sampled_from(HALF + FULL))
@examples
@pytest.mark.parametrize("make", [ClipNorm, ClipValue])
def test_below_the_threshold_nothing_changes(
    holding: Holding, make: Any, seed: int, shape: Any, dtype: Any
) -> None:
    grads = random_grads(seed, shape, 1.0, dtype)
    exactly = make(math.inf)(holding(*grads)).norm.item()
    for bound in (exactly, exactly * 1.5, 1e30, math.inf):
        params = holding(*grads)
        report = make(bound)(params)
        assert report.clipped.item() is False
        assert all(torch.equal(p.grad, g) for p, g in zip(params, grads, strict=True))


def three_layers() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 1))
    for scale, param in enumerate(net.parameters(), start=1):
        param.grad = torch.randn_like(param) * scale
    return net


PARTITIONS: dict[str, tuple[Any, list[list[str]]]] = {
    "parameter": ("parameter", [[n] for n, _ in three_layers().named_parameters()]),
    "module": ("module", [[f"{i}.weight", f"{i}.bias"] for i in range(3)]),
    "pattern": (
        {"biases": "bias", "ends": "^[02]"},
        [["0.bias", "1.bias", "2.bias"], ["0.weight", "2.weight"], ["1.weight"]],
    ),
}


@pytest.mark.parametrize("kind", PARTITIONS)
@pytest.mark.parametrize("p", [1.0, 2.0, math.inf])
@pytest.mark.parametrize("bound", [1.0, 9.0])
def test_each_part_is_clipped_as_by_hand(kind: str, p: float, bound: float) -> None:
    by, parts = PARTITIONS[kind]
    net, hand = three_layers(), three_layers()
    report = ClipNorm(bound, by=by, norm_type=p)(net)
    params = dict(hand.named_parameters())
    norms = [nn.utils.clip_grad_norm_([params[n] for n in part], bound, p) for part in parts]
    assert sorted(report.norms.tolist()) == pytest.approx(sorted(float(n) for n in norms))
    for a, b in zip(net.parameters(), hand.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=0)


def test_each_group_of_an_optimizer_is_clipped_as_by_hand() -> None:
    net, hand = three_layers(), three_layers()
    groups = [{"params": layer.parameters()} for layer in net]
    ClipNorm(2.0, by="group")(torch.optim.SGD(groups, lr=1.0))
    for a, b in zip(net, hand, strict=True):
        nn.utils.clip_grad_norm_(b.parameters(), 2.0)
        torch.testing.assert_close(a.weight.grad, b.weight.grad, rtol=1e-5, atol=0)


def test_a_statistic_gives_each_part_its_own_value_bound(holding: Holding) -> None:
    clipper = ClipValue(Percentile(0.0), by="parameter")
    clipper(holding(torch.tensor([1.0]), torch.tensor([10.0])))
    first, second = holding(torch.tensor([-5.0]), torch.tensor([50.0, -2.0]))
    clipper([first, second])
    assert (first.grad.tolist(), second.grad.tolist()) == ([-1.0], [10.0, -2.0])


@pytest.mark.parametrize("by", ["model", "parameter"])
@pytest.mark.parametrize("make", [lambda b, by: ClipNorm(b, by=by, eps=0), ClipValue])
def test_sparse_gradients_are_clipped_as_dense_ones(by: str, make: Any) -> None:
    embeddings = [nn.Embedding(6, 2, sparse=sparse) for sparse in (True, False)]
    for embedding in embeddings:
        embedding.weight.data.fill_(1.0)
        embedding(torch.tensor([1, 1, 5])).pow(2).sum().backward()
        make(1.5, by=by)(embedding)
    sparse, dense = (embedding.weight.grad for embedding in embeddings)
    assert sparse.is_sparse
    assert dense.abs().max() < 4.0
    torch.testing.assert_close(sparse.to_dense(), dense)


@pytest.mark.parametrize("p", [1.0, 2.0, math.inf])
def test_complex_gradients_are_clipped_as_torch_clips_them(holding: Holding, p: float) -> None:
    grads = torch.tensor([3 + 4j, 1 - 1j]), torch.tensor([2.0])
    ours, theirs = holding(*grads), holding(*grads)
    ClipNorm(0.7, norm_type=p)(ours)
    nn.utils.clip_grad_norm_(theirs, 0.7, norm_type=p)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_complex_gradients_cannot_be_clamped_and_nothing_is_touched(holding: Holding) -> None:
    real, imaginary = holding(torch.tensor([9.0]), torch.tensor([9j]))
    with pytest.raises(TypeError, match=r"cannot clamp complex gradients, as .* has; use"):
        ClipValue(1.0)([real, imaginary])
    assert (real.grad.item(), imaginary.grad.item()) == (9.0, 9j)


@pytest.mark.filterwarnings("ignore:there are no parameters")
@pytest.mark.parametrize("parameters", [[], nn.Linear(2, 2), nn.ReLU()])
@pytest.mark.parametrize("make", [ClipNorm, ClipValue])
def test_without_gradients_nothing_happens_and_nothing_is_counted(
    make: Any, parameters: Any
) -> None:
    clipper = make(Percentile(50.0))
    report = clipper(parameters)
    assert (report.norm.item(), report.clipped.item(), report.skipped.item()) == (0, False, False)
    assert clipper.steps.item() == 0
    assert len(clipper.threshold.history) == 0


@pytest.mark.parametrize("by", ["model", "parameter"])
@pytest.mark.parametrize("make", [ClipNorm, ClipValue])
def test_a_zero_gradient_stays_zero_and_enters_no_statistic(
    holding: Holding, make: Any, by: str
) -> None:
    clipper = make(Percentile(0.0), by=by)
    (param,) = holding(torch.zeros(3))
    report = clipper(param)
    assert param.grad.tolist() == [0.0, 0.0, 0.0]
    assert (report.coefficient.item(), report.clipped.item()) == (1.0, False)
    assert clipper.threshold.count.tolist() == [0]


@pytest.mark.parametrize("by", ["model", "parameter"])
def test_huge_gradients_are_clipped_not_skipped(holding: Holding, by: Any) -> None:
    (param,) = holding(torch.tensor([3e30, 4e30]))
    report = ClipNorm(1.0, by=by)(param)
    assert param.grad.tolist() == pytest.approx([0.6, 0.8])
    assert (report.skipped.item(), report.clipped.item()) == (False, True)


@pytest.mark.parametrize("dtype", HALF)
def test_a_bound_beyond_half_precision_binds_only_where_it_can(
    holding: Holding, dtype: Any
) -> None:
    full, half = holding(torch.tensor([1e39], dtype=torch.float64), torch.ones(1, dtype=dtype))
    ClipValue(3.39e38)([full, half])
    assert (full.grad.item(), half.grad.item()) == (3.39e38, 1.0)


@pytest.mark.parametrize("kind", [lambda: ClipNorm(1.0, by="parameter"), lambda: ClipValue(1.0)])
def test_gradients_keep_their_storage_and_dtype(holding: Holding, kind: Any) -> None:
    params = holding(torch.full((2,), 9.0), torch.full((2,), 9.0, dtype=torch.bfloat16))
    grads = [param.grad for param in params]
    kind()(params)
    assert all(param.grad is grad for param, grad in zip(params, grads, strict=True))


class Normalise(Rule):
    """Sets every part to its threshold: a user's response in a few lines."""

    def respond(self, parts: Parts, thresholds: Tensor) -> Tensor:
        for grad, norm in zip(parts.gradients.grads, parts.norms, strict=True):
            grad.mul_(thresholds[0] / norm)
        return thresholds


def test_a_clipper_of_ones_own(holding: Holding) -> None:
    params = holding(torch.tensor([3.0, 4.0]), torch.tensor([10.0]))
    report = Normalise(Percentile(0.0), by="parameter")(params)
    assert (report.clipped_norms.tolist(), report.clip_rate.item()) == ([5.0, 10.0], 0.0)


def test_a_clipper_without_a_response_says_so(holding: Holding) -> None:
    with pytest.raises(TypeError, match="Rule must implement respond"):
        Rule(Fixed(1.0))(holding(torch.tensor([2.0])))
