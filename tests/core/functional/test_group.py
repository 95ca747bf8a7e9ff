"""Norms over processes that hold different parameters, as the stages of a pipeline do."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import distributed as dist
from torch import nn

from gradclip_core import ClipNorm, Percentile
from gradclip_core.functional import clip_grad_norm_, get_total_norm
from tests.core.parts.processes import run_processes

CASES = [(1.0, False), (2.0, False), (math.inf, False), (2.0, True)]


def stages() -> list[nn.Parameter]:
    """The parameters of the whole, two for each process, with gradients."""
    params = [nn.Parameter(torch.zeros(n)) for n in (3, 5, 2, 7)]
    for i, param in enumerate(params):
        param.grad = torch.randn(len(param), generator=torch.Generator().manual_seed(i)) * 3
    return params


def on_each(order: float, bad: bool) -> Any:
    rank = dist.get_rank()
    mine = stages()[2 * rank : 2 * rank + 2]
    if bad and rank == 1:
        mine[0].grad.fill_(math.nan)  # type: ignore[union-attr]
    group = dist.new_group([0, 1])
    grads = [param.grad.clone() for param in mine]  # type: ignore[union-attr]
    total = get_total_norm(grads, order, group=group)
    returned = clip_grad_norm_(mine, 0.5, order, group=group)
    clipper, again = ClipNorm(Percentile(0), norm_type=order), []
    for param, grad in zip(mine, grads, strict=True):
        param.grad = grad
    for _ in range(3):
        report = clipper.clip_with_norm(mine, get_total_norm(grads, order, group=group))
        again.append((report.norm.item(), bool(report.skipped)))
    left = [param.grad is None for param in mine]
    empty = get_total_norm([] if rank else grads, order, group=group)
    return total.item(), returned.item(), again, left, empty.item()


def on_each_case() -> dict[str, Any]:
    return {f"{order} {bad}": on_each(order, bad) for order, bad in CASES}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return run_processes(2, tmp_path_factory.mktemp("group"), on_each_case)


@pytest.mark.parametrize("order", [1.0, 2.0, math.inf])
def test_the_norm_is_that_of_all_processes(told: list[dict[str, Any]], order: float) -> None:
    grads = [param.grad for param in stages() if param.grad is not None]
    expected = torch.linalg.vector_norm(torch.cat(grads), order).item()
    first = torch.linalg.vector_norm(torch.cat(grads[:2]), order).item()
    for total, returned, again, left, empty in (each[f"{order} False"] for each in told):
        assert total == pytest.approx(expected, rel=1e-6)
        assert returned == pytest.approx(expected, rel=1e-6)
        assert [norm for norm, _ in again] == pytest.approx([expected] * 3, rel=1e-6)
        assert not any(skipped for _, skipped in again)
        assert left == [False, False]
        assert empty == pytest.approx(first, rel=1e-6)


def test_all_processes_skip_where_one_is_not_finite(told: list[dict[str, Any]]) -> None:
    for total, _, again, left, _ in (each["2.0 True"] for each in told):
        assert math.isnan(total)
        assert [skipped for _, skipped in again] == [True, False, False]
        assert left == [True, True]
