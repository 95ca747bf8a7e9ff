"""Norms and partitions: right for every dtype, order and size; parts as the names say."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gradclip_core import ClipNorm
from gradclip_core.parts.collect import collect
from gradclip_core.parts.norms import combine, parameter_norms, total
from gradclip_core.parts.partition import partition

pytestmark = pytest.mark.usefixtures("either_way")
Holding = Callable[..., list[nn.Parameter]]
ORDERS = [0.5, 1.0, 1.5, 2.0, 3.0, 8.0, math.inf]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def measure(params: list[nn.Parameter], norm_type: float = 2.0) -> Tensor:
    return parameter_norms(collect(params), norm_type)


def exact(grad: Tensor, norm_type: float) -> float:
    return torch.linalg.vector_norm(grad.double().flatten(), norm_type).item()


@given(
    seed=st.integers(0, 10_000),
    size=st.integers(1, 400),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
    dtype=st.sampled_from(DTYPES),
    norm_type=st.sampled_from(ORDERS),
)
@settings(max_examples=120)
def test_norms_equal_float64(
    holding: Holding, seed: int, size: int, scale: float, dtype: torch.dtype, norm_type: float
) -> None:
    grad = (torch.randn(size, generator=torch.Generator().manual_seed(seed)) * scale).to(dtype)
    (norm,) = measure(holding(grad), norm_type).tolist()
    assert norm == pytest.approx(exact(grad, norm_type), rel=2e-6)


@pytest.mark.parametrize("norm_type", [1.0, 2.0])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_long_float32_gradient_keeps_six_digits(
    holding: Holding, norm_type: float, transposed: bool
) -> None:
    grad = torch.rand(5000, 4000, generator=torch.Generator().manual_seed(1))
    grad = grad.t() if transposed else grad
    (norm,) = measure(holding(grad), norm_type).tolist()
    assert norm == pytest.approx(exact(grad, norm_type), rel=1e-6)


@pytest.mark.slow
def test_fifty_million_elements_keep_six_digits_where_torch_keeps_two(holding: Holding) -> None:
    grad = torch.randn(50_000_000, generator=torch.Generator().manual_seed(0))
    expected = exact(grad, 2.0)
    (param,) = holding(grad)
    assert ClipNorm(1e9)(param).norm.item() == pytest.approx(expected, rel=1e-6)
    assert grad.norm().item() != pytest.approx(expected, rel=1e-3)


def test_a_long_gradient_of_uneven_length_is_measured_to_its_end(holding: Holding) -> None:
    grad = torch.zeros(4 * 32_768 + 17)
    grad[-1] = 3.0
    assert measure(holding(grad)).item() == 3.0


def test_half_precision_norms_do_not_overflow(holding: Holding) -> None:
    grad = torch.full((100,), 9486.8).half()
    assert torch.linalg.vector_norm(grad).isinf()
    assert measure(holding(grad)).item() == pytest.approx(exact(grad, 2.0), rel=1e-6)


@pytest.mark.parametrize(
    ("value", "dtype", "norm_type"),
    [
        (1e30, torch.float32, 2.0),
        (1e-25, torch.float32, 2.0),
        (1e-6, torch.float32, 8.0),
        (1e-14, torch.float32, 3.0),
        (1e30, torch.float32, 0.5),
        (1e200, torch.float64, 2.0),
        (1e-200, torch.float64, 2.0),
        (1e-30, torch.float64, 20.0),
    ],
)
def test_powers_that_overflow_or_vanish_do_not_spoil_the_norm(
    holding: Holding, value: float, dtype: torch.dtype, norm_type: float
) -> None:
    params = holding(torch.full((16,), value, dtype=dtype))
    expected = pytest.approx(value * 16 ** (1 / norm_type), rel=1e-6, abs=0)
    assert measure(params, norm_type).item() == expected
    assert ClipNorm(1.0, norm_type=norm_type)(params).norm.item() == expected


@pytest.mark.parametrize("norm_type", ORDERS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_non_finite_element_shows_in_the_norm(
    holding: Holding, norm_type: float, bad: float
) -> None:
    norms = measure(holding(torch.tensor([1.0, bad]), torch.ones(2)), norm_type)
    assert norms.isfinite().tolist() == [False, True]


@pytest.mark.parametrize("norm_type", ORDERS)
def test_complex_elements_count_by_magnitude(holding: Holding, norm_type: float) -> None:
    (norm,) = measure(holding(torch.tensor([3 + 4j, 0 - 5j])), norm_type).tolist()
    assert norm == pytest.approx(exact(torch.tensor([5.0, 5.0]), norm_type))


@given(pieces=st.lists(st.floats(0, 1e30), min_size=1, max_size=9), p=st.sampled_from(ORDERS))
@settings(max_examples=80)
def test_the_norm_of_a_concatenation_comes_from_its_pieces(pieces: list[float], p: float) -> None:
    peak = max(pieces) or 1.0
    expected = peak * exact(torch.tensor(pieces, dtype=torch.float64) / peak, p)
    assert total(torch.tensor(pieces, dtype=torch.float64), p).item() == pytest.approx(expected)


def test_no_norms_have_the_norm_zero() -> None:
    assert total(torch.zeros(0), 2.0).item() == 0.0


def net() -> nn.Module:
    """Four parameters: body.0.weight, body.0.bias, head.weight, head.bias."""
    module = nn.Module()
    module.body = nn.Sequential(nn.Linear(2, 2))
    module.head = nn.Linear(2, 1)
    return module


@pytest.mark.parametrize(
    ("by", "members"),
    [
        ("model", ((0, 1, 2, 3),)),
        ("parameter", ((0,), (1,), (2,), (3,))),
        ("module", ((0, 1), (2, 3))),
        ({"biases": r"\.bias$"}, ((0, 2), (1, 3))),
        ({"head": "^head", "biases": r"\.bias$"}, ((0,), (1,), (2, 3))),
        ({"all": ""}, ((0, 1, 2, 3),)),
    ],
)
def test_parts_are_what_the_names_say(by: Any, members: tuple[tuple[int, ...], ...]) -> None:
    assert partition(collect(net()), by).members == members


def test_groups_are_parts() -> None:
    module = net()
    groups = [{"params": module.get_submodule(name).parameters()} for name in ("head", "body")]
    found = collect(torch.optim.SGD(groups, lr=1.0))
    assert partition(found, "group").members == ((0, 1), (2, 3))


@pytest.mark.parametrize("by", ["model", "module", "parameter", {"biases": r"\.bias$"}])
def test_part_norms_are_norms_of_their_members(by: Any) -> None:
    module = net()
    for position, param in enumerate(module.parameters(), start=1):
        param.grad = torch.full_like(param, float(position))
    found = collect(module)
    parts = partition(found, by)
    norms = combine(parameter_norms(found), parts, 2.0)
    for norm, part in zip(norms.tolist(), parts.members, strict=True):
        flat = torch.cat([found.grads[i].flatten() for i in part])
        assert norm == pytest.approx(exact(flat, 2.0))


@pytest.mark.parametrize("by", ["module", {"biases": "bias"}])
def test_parts_by_name_need_names(by: Any) -> None:
    with pytest.raises(ValueError, match="needs parameter names: pass the model"):
        partition(collect(net().parameters()), by)


def test_modules_of_two_models_are_not_taken_for_one() -> None:
    both = [net(), net()]
    twice = [pair for each in both for pair in each.named_parameters()]
    with pytest.raises(ValueError, match=r"two parameters are called '.*'; pass a ModuleDict"):
        partition(collect(twice), "module")
    apart = partition(collect(torch.nn.ModuleList(both)), "module")
    assert len(apart.members) == 2
    assert len(partition(collect(twice), "parameter").members) == len(twice)


@pytest.mark.parametrize(
    ("names", "members"),
    [
        (("net.a.weight", "net.a.bias", "net.b.weight"), ((0, 1), (2,))),
        (("module.net.a.weight", "module.net.b.weight"), ((0,), (1,))),
        (("net.weight", "net.bias"), ((0, 1),)),
        (("net.weight", "net.a.weight"), ((0,), (1,))),
        (("weight", "bias"), ((0,), (1,))),
    ],
)
def test_modules_are_told_apart_below_a_common_wrapper(
    names: tuple[str, ...], members: tuple[tuple[int, ...], ...]
) -> None:
    pairs = [(name, nn.Parameter(torch.zeros(1))) for name in names]
    assert partition(collect(pairs), "module").members == members
