"""The compiled kernel: equal to PyTorch for every dtype and layout; left out where it cannot be."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradclip_core.parts import native
from gradclip_core.parts.responses import multiply

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
compiled = pytest.mark.skipif(not native.available(), reason="needs a C compiler")
AWKWARD = [0.0, -0.0, 6e-8, 5.9e-5, 65504.0, -65520.0, 1e-40, 3e38, -1.5]


def tensors(dtype: torch.dtype, *sizes: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=generator).to(dtype) for size in sizes]


def batch(given: list[Tensor], rows: list[int] | None = None) -> native.Batch:
    found = native.batch(given, rows)
    assert found is not None
    return found


def exact(tensor: Tensor, norm_type: float) -> float:
    return torch.linalg.vector_norm(tensor.double().flatten(), norm_type).item()


@compiled
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norm_type", [1.0, 2.0, math.inf])
@given(sizes=st.lists(st.integers(1, 9000), min_size=1, max_size=4), seed=st.integers(0, 99))
@settings(max_examples=10)
def test_norms_equal_float64(
    dtype: torch.dtype, norm_type: float, sizes: list[int], seed: int
) -> None:
    given = tensors(dtype, *sizes, seed=seed)
    found = batch(given)
    total, norms = found.norms(norm_type)
    assert norms.tolist() == pytest.approx([exact(t, norm_type) for t in given], rel=1e-7)
    whole = exact(torch.cat([t.double() for t in given]), norm_type)
    assert total == pytest.approx(whole, rel=1e-7)


@compiled
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norm_type", [1.0, 2.0, math.inf])
@pytest.mark.parametrize("value", [math.nan, math.inf, *AWKWARD])
def test_awkward_elements_are_measured(dtype: torch.dtype, norm_type: float, value: float) -> None:
    tensor = torch.full((700,), value).to(dtype)
    expected = pytest.approx(exact(tensor, norm_type), rel=1e-6, abs=0, nan_ok=True)
    assert batch([tensor]).norms(norm_type)[0] == expected


@compiled
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("factor", [0.3, 1e-9, math.nan, math.inf])
def test_scaled_elements_are_those_of_pytorch(dtype: torch.dtype, factor: float) -> None:
    awkward = torch.tensor([*AWKWARD, math.nan, math.inf, -math.inf]).to(dtype)
    ours = torch.cat([awkward, *tensors(dtype, 5000)])
    theirs = ours * factor
    batch([ours]).scale(factor)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


@compiled
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bound", [0.3, 1e-9, 1.1, 1e30])
def test_clamped_elements_are_those_of_pytorch(dtype: torch.dtype, bound: float) -> None:
    ours = tensors(dtype, 5000)[0]
    ours[:2000] *= 0.1
    rounded = torch.tensor(bound, dtype=torch.float64).to(dtype)
    theirs, peak = ours.clamp(-rounded, rounded), ours.abs().max().item()
    assert batch([ours]).clamp(bound)[0] == peak
    assert torch.equal(ours, theirs)


@compiled
@pytest.mark.parametrize("dtype", DTYPES)
def test_clamping_leaves_what_is_not_finite(dtype: torch.dtype) -> None:
    tensor = torch.tensor([math.nan, math.inf, -math.inf, -5.0, 0.5]).to(dtype)
    assert math.isnan(batch([tensor]).clamp(1.0)[0])
    assert str(tensor.tolist()) in (
        "[nan, inf, -inf, -5.0, 0.5]",
        "[nan, inf, -inf, -1.0, 0.5]",
    )


@compiled
@pytest.mark.parametrize("dtype", DTYPES)
def test_each_row_has_its_own_norm_factor_and_bound(dtype: torch.dtype) -> None:
    first, second = tensors(dtype, 30, 14)
    given, rows = [first.view(5, 6), second.view(2, 7)], [5, 2]
    copies = [tensor.clone().double() for tensor in given]
    _, norms = batch(given, rows).norms(2.0)
    assert norms.tolist() == pytest.approx([exact(row, 2.0) for t in copies for row in t])
    factors = torch.linspace(0.5, 1.0, 7, dtype=torch.float64)
    batch(given, rows).scale(factors)
    for tensor, copy, factor in zip(given, copies, factors.split(rows), strict=True):
        torch.testing.assert_close(tensor.double(), copy * factor.view(-1, 1), rtol=8e-3, atol=0)
    bounds = torch.linspace(0.1, 0.7, 7, dtype=torch.float64)
    batch(given, rows).clamp(bounds)
    _, peaks = batch(given, rows).norms(math.inf)
    assert (peaks <= bounds * (1 + 8e-3)).all()


@compiled
@pytest.mark.parametrize("layout", ["transposed", "channels last"])
def test_dense_tensors_in_another_order_are_taken_as_they_lie(layout: str) -> None:
    tensor = torch.randn(4, 3, 2, 5, generator=torch.Generator().manual_seed(0))
    if layout == "transposed":
        tensor = tensor.transpose(0, 1)
        assert native.batch([tensor], [3]) is None
    else:
        tensor = tensor.contiguous(memory_format=torch.channels_last)
        by_row = torch.linalg.vector_norm(tensor, dim=(1, 2, 3))
        torch.testing.assert_close(batch([tensor], [4]).norms(2.0)[1].float(), by_row)
    expected = tensor * 0.5
    batch([tensor]).scale(0.5)
    assert torch.equal(tensor, expected)


def test_what_the_kernel_cannot_take_is_left_to_pytorch() -> None:
    a = torch.ones(4)
    assert native.batch([]) is None
    assert native.batch([a, a.double()]) is None
    assert native.batch([a.int()]) is None
    assert native.batch([torch.ones(2, dtype=torch.complex64)]) is None
    assert native.batch([torch.arange(9.0)[::2]]) is None
    assert native.batch([a.expand(3, 4)]) is None
    assert native.batch([torch.ones(0)]) is None
    assert native.batch([torch.ones(2, device="meta")]) is None
    assert native.batch([torch.ones(3).to_sparse()]) is None
    assert native.batch([a.as_subclass(type("Special", (Tensor,), {}))]) is None


@pytest.mark.parametrize("use_kernel", [pytest.param(True, marks=compiled), False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("factor", [1e-38, -1e-40, 3e-45, 1e-60, 1e-76, 5e-324, 0.0])
def test_factors_that_float32_cannot_hold_scale_as_precisely(
    dtype: torch.dtype, factor: float, use_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not use_kernel:
        monkeypatch.setattr(native, "library", lambda: None)
    numbers = torch.tensor([1e30, -3e38, 7e20, 1.0, 0.0], dtype=torch.float64).to(dtype)
    expected = (numbers.double() * factor).to(dtype)
    by_one, each, by_row = numbers.clone(), numbers.clone(), numbers.repeat(2, 1)
    factors = torch.tensor([factor, factor], dtype=torch.float64)
    multiply([by_one], factor, None, native.batch([by_one]))
    multiply([each], factors[:1], None, native.batch([each]))
    multiply([by_row], factors, [2], native.batch([by_row], [2]))
    # Two roundings to the nearest; below the normal numbers, the least number there is.
    least = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    for found in (by_one, each, *by_row):
        eps = 2 * torch.finfo(dtype).eps
        torch.testing.assert_close(found, expected, rtol=eps, atol=least)


@compiled
def test_a_change_shows_in_the_version_that_autograd_watches() -> None:
    x = torch.ones(3, requires_grad=True)
    kept = x * 2
    product = (kept * kept).sum()
    batch([kept.detach()]).scale(0.5)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()


@compiled
def test_plain_tensors_are_located_in_one_call() -> None:
    given = [torch.ones(2, 3), torch.ones(()), torch.ones(4)]
    found = native.locate(given)
    if found is None:
        pytest.skip("PyTorch does not tell")
    assert list(found.heights()) == [2, 1, 1]
    assert found.norms(1.0)[1].tolist() == [6.0, 1.0, 4.0]
    assert found.by_row().norms(1.0)[1].tolist() == [3.0, 3.0, 1.0, 4.0]


@pytest.mark.parametrize(
    "given",
    [
        [torch.ones(3).to_sparse()],
        [torch.ones(2, device="meta")],
        [torch.ones(3, 2).t()],
        [torch.ones(2), torch.ones(2, dtype=torch.float64)],
        [torch.ones(0)],
        [torch.ones(3, dtype=torch.int32)],
        [torch.ones(3, dtype=torch.complex64)],
    ],
    ids=["sparse", "meta", "transposed", "mixed", "empty", "integers", "complex"],
)
def test_what_cannot_be_located_is_left_alone(given: list[Tensor]) -> None:
    for _ in range(2):
        assert native.locate(given) is None


def test_tensors_that_share_memory_are_not_located() -> None:
    memory = torch.ones(4)
    assert native.locate([memory, memory.view(2, 2)]) is None


@pytest.mark.parametrize("use", ["scale", "clamp", "factors"])
def test_numbers_that_lie_elsewhere_are_fetched_or_refused(use: str) -> None:
    batch = native.batch([torch.ones(3), torch.ones(2)])
    assert batch is not None
    norms = torch.tensor([3.0, 4.0], dtype=torch.float64)
    run = functools.partial(batch.factors, norms, eps=0.0) if use == "factors" else None
    call: Any = run or getattr(batch, use)
    call(torch.tensor([0.5, 0.25]))  # float32
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        call(torch.zeros(2, dtype=torch.float64, device="meta"))
