"""Responses: factors reach the gradients they belong to, and at full precision."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from gradclip_core import ClipNorm
from gradclip_core.parts.gradients import Gradients
from gradclip_core.parts.norms import Parts
from gradclip_core.parts.partition import Partition
from gradclip_core.parts.responses import multiply, per_gradient, scale

pytestmark = pytest.mark.usefixtures("either_way")
Holding = Callable[..., list[nn.Parameter]]
HALF = [torch.float16, torch.bfloat16]


def parts_over(present: list[int], members: tuple[tuple[int, ...], ...]) -> Parts:
    """Parts of four parameters, of which those in `present` have a gradient of ones."""
    params = [nn.Parameter(torch.zeros(2)) for _ in range(4)]
    grads = [torch.ones(2) for _ in present]
    found = Gradients(params, [None] * 4, [0] * 4, present, grads)
    norms = torch.ones(len(members), dtype=torch.float64)
    return Parts(norms, norms > 0, Partition(members, 4), found)


def test_a_value_per_part_goes_to_the_gradients_of_its_members() -> None:
    parts = parts_over([0, 2, 3], ((0, 3), (1, 2)))
    assert per_gradient(parts, torch.tensor([10.0, 20.0])).tolist() == [10.0, 20.0, 10.0]


def test_one_value_goes_to_all() -> None:
    parts = parts_over([1, 3], ((0, 1, 2, 3),))
    assert per_gradient(parts, torch.tensor([7.0])).tolist() == [7.0, 7.0]


@pytest.mark.parametrize("members", [((0, 1, 2, 3),), ((0, 3), (1, 2))])
def test_scaling_follows_the_partition(members: tuple[tuple[int, ...], ...]) -> None:
    parts = parts_over([0, 2, 3], members)
    scale(parts, torch.tensor([0.5, 0.25][: len(members)], dtype=torch.float64))
    second = 0.25 if len(members) == 2 else 0.5
    assert [grad[0].item() for grad in parts.gradients.grads] == [0.5, second, 0.5]


def test_a_factor_of_one_writes_nothing() -> None:
    parts = parts_over([0, 1], ((0,), (1,), (2, 3)))
    versions = [grad._version for grad in parts.gradients.grads]
    scale(parts, torch.tensor([1.0, 0.5, 1.0], dtype=torch.float64))
    changed = [g._version > v for g, v in zip(parts.gradients.grads, versions, strict=True)]
    assert changed == [False, True]


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("shape", [(), (7,), (3, 1, 5)])
@pytest.mark.parametrize("factor", [1 / 3, 0.9999, 1e-9])
def test_half_precision_is_multiplied_by_an_unrounded_factor(
    dtype: torch.dtype, shape: tuple[int, ...], factor: float
) -> None:
    grad = (torch.randn(shape, generator=torch.Generator().manual_seed(2)) * 1000).to(dtype)
    expected = (grad.double() * torch.tensor(factor).double()).to(dtype)
    other = grad.clone()
    multiply([grad], torch.tensor(factor))
    multiply([other], torch.tensor([factor]))
    torch.testing.assert_close(grad, expected, rtol=0, atol=0)
    torch.testing.assert_close(other, expected, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("by", ["model", "parameter"])
def test_half_precision_gradients_on_cpu_see_an_unrounded_factor(
    holding: Holding, dtype: torch.dtype, by: str
) -> None:
    grad = torch.full((64,), 1000.0).to(dtype)
    params = holding(grad, grad[:8])
    ClipNorm(1.0, by=by, eps=0)(params)
    norm = 1000.0 * ((64 + 8) if by == "model" else 64) ** 0.5
    assert params[0].grad[0] == torch.tensor(1000.0 / norm, dtype=torch.float64).to(dtype)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("by", ["model", "parameter"])
def test_cuda_gives_the_same_half_precision_gradients_as_cpu(
    holding: Holding, dtype: torch.dtype, by: str
) -> None:
    grads = [torch.randn(64).to(dtype) * 900, torch.randn(5, 3).to(dtype)]
    on_cpu, on_cuda = holding(*grads), holding(*[grad.cuda() for grad in grads])
    for params in (on_cpu, on_cuda):
        ClipNorm(1.0, by=by)(params)
    for a, b in zip(on_cpu, on_cuda, strict=True):
        torch.testing.assert_close(b.grad.cpu(), a.grad, rtol=torch.finfo(dtype).eps, atol=1e-7)
