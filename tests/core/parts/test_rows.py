"""Rows as parts: each unit measured and clipped as by hand, dense or sparse, in every dtype."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gradclip_core import ClipNorm, ClipValue, Percentile
from gradclip_core.parts.collect import collect
from gradclip_core.parts.rows import norms_of_all_rows, row_norms

pytestmark = pytest.mark.usefixtures("either_way")
Holding = Callable[..., list[nn.Parameter]]
EPS = {torch.float16: 2e-3, torch.bfloat16: 1e-2, torch.float32: 1e-5, torch.float64: 1e-12}
shapes = st.lists(st.lists(st.integers(1, 5), max_size=4), min_size=1, max_size=4)
examples = settings(max_examples=50)


def random_grads(seed: int, shape_list: list[list[int]], dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shape_list]


def rows_of(tensor: Tensor) -> list[Tensor]:
    return list(tensor.flatten(1)) if tensor.ndim >= 2 else [tensor.flatten()]


@given(
    seed=st.integers(0, 10_000),
    shape_list=shapes,
    dtype=st.sampled_from(list(EPS)),
    p=st.sampled_from([0.5, 1.0, 2.0, 3.0, math.inf]),
    bound=st.floats(0.1, 5.0),
)
@examples
def test_each_row_is_clipped_as_by_hand(
    holding: Holding, seed: int, shape_list: Any, dtype: Any, p: float, bound: float
) -> None:
    grads = random_grads(seed, shape_list, dtype)
    params = holding(*grads)
    report = ClipNorm(bound, by="row", norm_type=p, eps=0)(params)
    before = [row.double() for grad in grads for row in rows_of(grad)]
    after = [row.double() for param in params for row in rows_of(param.grad)]
    norms = [torch.linalg.vector_norm(row, p).item() for row in before]
    assert report.norms.tolist() == pytest.approx(norms, rel=1e-5)
    assert (report.clipped_norms <= bound * (1 + 1e-12)).all()
    whole = torch.linalg.vector_norm(torch.cat(before), p).item()
    assert report.norm.item() == pytest.approx(whole, rel=1e-5)
    tiny = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    for old, new, norm in zip(before, after, norms, strict=True):
        expected = old * min(1.0, bound / norm)
        torch.testing.assert_close(new, expected, rtol=EPS[dtype], atol=tiny)


def test_rows_below_the_threshold_keep_every_bit(holding: Holding) -> None:
    grad = torch.tensor([[3.0, 4.0], [0.3, -0.0], [0.0, 0.0]])
    (param,) = holding(grad)
    report = ClipNorm(1.0, by="row", eps=0)(param)
    assert param.grad[0].tolist() == pytest.approx([0.6, 0.8])
    assert torch.equal(param.grad[1:], grad[1:])
    assert math.copysign(1, param.grad[1, 1].item()) == -1
    assert report.over.tolist() == [True, False, False]
    assert report.clipped_share.item() == pytest.approx(1 / 3)


def test_gradients_without_a_row_over_the_threshold_are_not_written(holding: Holding) -> None:
    params = holding(torch.ones(2, 2), torch.full((2, 2), 9.0))
    versions = [param.grad._version for param in params]
    ClipNorm(2.0, by="row")(params)
    changed = [p.grad._version > v for p, v in zip(params, versions, strict=True)]
    assert changed == [False, True]


@pytest.mark.parametrize(
    "make", [lambda: ClipNorm(1.5, by="row"), lambda: ClipValue(1.0, by="row")]
)
def test_tokens_of_a_sparse_embedding_are_clipped_as_dense_ones(make: Any) -> None:
    embeddings = [nn.Embedding(6, 2, sparse=sparse) for sparse in (True, False)]
    reports = []
    for embedding in embeddings:
        embedding.weight.data.copy_(torch.arange(12.0).view(6, 2) / 10)
        embedding(torch.tensor([5, 1, 1, 5, 0])).pow(2).sum().backward()
        reports.append(make()(embedding))
    sparse, dense = (embedding.weight.grad for embedding in embeddings)
    assert sparse.is_sparse
    assert reports[0].over.tolist() == reports[1].over.tolist()
    assert 0 < reports[0].over.sum() < 3
    torch.testing.assert_close(reports[0].norms, reports[1].norms)
    torch.testing.assert_close(sparse.to_dense(), dense)


def test_a_sparse_vector_is_one_part() -> None:
    param = nn.Parameter(torch.zeros(5))
    param.grad = torch.tensor([0, 3.0, 0, 0, 4.0]).to_sparse()
    ClipNorm(1.0, by="row", eps=0)(param)
    assert param.grad.to_dense().tolist() == pytest.approx([0, 0.6, 0, 0, 0.8])


def test_gradients_sparse_in_two_dimensions_are_refused() -> None:
    param = nn.Parameter(torch.zeros(3, 3))
    param.grad = torch.eye(3).to_sparse()
    with pytest.raises(ValueError, match=r"by='row' takes sparse gradients with one sparse dim"):
        ClipNorm(1.0, by="row")(param)


@pytest.mark.parametrize("p", [1.0, 2.0, 8.0])
@pytest.mark.parametrize("value", [1e30, 1e-25])
def test_rows_whose_powers_overflow_or_vanish_are_measured(
    holding: Holding, value: float, p: float
) -> None:
    params = holding(torch.tensor([[1.0] * 4, [value] * 4, [0.0] * 4]))
    norms = row_norms(collect(params), p).tolist()
    assert norms == pytest.approx([4 ** (1 / p), value * 4 ** (1 / p), 0.0], rel=1e-6, abs=0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_row_skips_the_step(holding: Holding, bad: float) -> None:
    params = holding(torch.tensor([[1.0, bad], [9.0, 0.0]]), torch.ones(2))
    report = ClipNorm(1.0, by="row")(params)
    assert report.norms.isfinite().tolist() == [False, True, True]
    assert report.skipped.item() is True
    assert [param.grad for param in params] == [None, None]


def test_complex_rows_are_clipped_by_magnitude(holding: Holding) -> None:
    (param,) = holding(torch.tensor([[3 + 4j, 0], [0.1j, 0]]))
    ClipNorm(1.0, by="row", eps=0)(param)
    torch.testing.assert_close(param.grad, torch.tensor([[0.6 + 0.8j, 0], [0.1j, 0]]))


def test_a_percentile_keeps_a_history_for_each_row_and_resumes(holding: Holding) -> None:
    generator = torch.Generator().manual_seed(3)
    steps = [torch.randn(4, 3, generator=generator) for _ in range(20)]

    def run(clipper: ClipNorm, grads: list[Tensor]) -> list[Tensor]:
        after = []
        for grad in grads:
            (param,) = holding(grad)
            clipper(param)
            after.append(param.grad)
        return after

    whole = run(ClipNorm(Percentile(50, window=7), by="row"), steps)
    rows = [ClipNorm(Percentile(50, window=7)) for _ in range(4)]
    for row, clipper in enumerate(rows):
        alone = run(clipper, [grad[row] for grad in steps])
        torch.testing.assert_close(alone, [grad[row] for grad in whole])
    first = ClipNorm(Percentile(50, window=7), by="row")
    run(first, steps[:10])
    second = ClipNorm(Percentile(50, window=7), by="row")
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    resumed = run(second, steps[10:])
    assert all(torch.equal(a, b) for a, b in zip(resumed, whole[10:], strict=True))


def test_parameters_without_a_gradient_keep_their_rows() -> None:
    first, second = nn.Parameter(torch.zeros(3, 2)), nn.Parameter(torch.zeros(2, 2))
    second.grad = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    report = ClipNorm(1.0, by="row", eps=0)([first, second])
    assert report.norms.tolist() == [0, 0, 0, 5, 0]
    assert report.clipped_norms.tolist() == [0, 0, 0, 1, 0]
    assert report.parameter_norms.tolist() == [0, 5]


def test_a_clipper_serves_parameters_with_other_rows_one_after_the_other(holding: Holding) -> None:
    clipper = ClipNorm(1.0, by="row")
    for rows in (2, 5, 3):
        assert len(clipper(holding(torch.ones(rows, 2))).norms) == rows


@pytest.mark.parametrize("norm_type", [1.0, 2.0])
@pytest.mark.parametrize("shape", [(1, 100_001), (2, 50, 50, 20)])
def test_long_rows_with_gaps_lose_no_digits(norm_type: float, shape: tuple[int, ...]) -> None:
    grad = torch.rand(*shape, 2, generator=torch.Generator().manual_seed(0))[..., 0]
    exact = torch.linalg.vector_norm(grad.double().flatten(1), norm_type, dim=1)
    found = norms_of_all_rows([grad], [shape[0]], norm_type)
    torch.testing.assert_close(found, exact, rtol=1e-7, atol=0)
