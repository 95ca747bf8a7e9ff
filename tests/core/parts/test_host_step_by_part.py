"""A fast step by parameter or row equals the full one and is read when asked."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gradclip_core import ClipNorm, Clipper, Fixed, Relative, Threshold
from gradclip_core.parts.gradients import Gradients

pytestmark = pytest.mark.usefixtures("either_way")
SHAPES = [(3, 4), (5,), (), (50, 60), (2, 3, 2)]
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


class FullNorm(ClipNorm):
    """The same rule by the full step."""

    def fast_step(self, gradients: Gradients) -> None:
        return None


def params_with(grads: list[Tensor]) -> list[nn.Parameter]:
    """Parameters of which some rows are small, with copies of these gradients."""
    params = [nn.Parameter(torch.linspace(0, 2, g.numel()).view(g.shape).to(g)) for g in grads]
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad.clone()
    return params


def both(grads: list[Tensor], make: Callable[[type[ClipNorm]], Clipper]) -> list[Any]:
    results = []
    for kind in (ClipNorm, FullNorm):
        params, clipper = params_with(grads), make(kind)
        results.append((clipper(params), [param.grad for param in params], clipper))
    return results


def assert_same(results: list[Any]) -> None:
    (ours, changed, clipper), (theirs, expected, other) = results
    for name in ("norms", "clipped_norms", "thresholds", "parameter_norms", "clip_rate"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=1e-6, atol=0)
    assert torch.equal(ours.over, theirs.over)
    assert (ours.path, ours.names, ours.norm_type) == (theirs.path, theirs.names, theirs.norm_type)
    assert ours.worst_parameter == theirs.worst_parameter
    assert clipper.steps == other.steps
    assert clipper.clipped_steps == other.clipped_steps
    for grad, same in zip(changed, expected, strict=True):
        torch.testing.assert_close(grad, same, rtol=1e-6 if grad.itemsize > 2 else 1e-2, atol=0)


@pytest.mark.parametrize("by", ["model", "parameter", "row"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, math.inf])
@given(seed=st.integers(0, 999), bound=st.floats(0.05, 50.0), relative=st.booleans())
@settings(max_examples=4)
def test_the_fast_step_gives_what_the_full_one_gives(
    by: Any, dtype: torch.dtype, p: float, seed: int, bound: float, relative: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    grads = [torch.randn(shape, generator=generator).to(dtype) for shape in SHAPES]

    def make(kind: type[ClipNorm]) -> Clipper:
        threshold: Threshold = Relative(bound) if relative else Fixed(bound)
        return kind(threshold, by=by, norm_type=p, eps=0.0)

    assert_same(both(grads, make))


@pytest.mark.parametrize("by", ["parameter", "row"])
@pytest.mark.parametrize("policy", ["skip", "zero", "pass"])
def test_a_step_that_is_not_finite_goes_the_full_way(by: Any, policy: Any) -> None:
    grads = [torch.ones(shape) * 9 for shape in SHAPES]
    grads[3][7, 2] = math.inf
    (ours, changed, _), (theirs, expected, _) = both(
        grads, lambda kind: kind(1.0, by=by, nonfinite=policy)
    )
    assert torch.equal(ours.skipped, theirs.skipped)
    torch.testing.assert_close(ours.norms, theirs.norms)
    for grad, same in zip(changed, expected, strict=True):
        assert (grad is None) == (same is None)
        if grad is not None:
            torch.testing.assert_close(grad, same, equal_nan=True)


def test_a_report_that_is_read_late_tells_of_its_own_step() -> None:
    clipper = ClipNorm(1.0, by="parameter", eps=0.0)
    params = params_with([torch.tensor([3.0, 4.0])])
    first = clipper(params)
    params[0].grad = torch.tensor([0.3, 0.4])
    second = clipper(params)
    assert first.norms.item() == pytest.approx(5.0)
    assert first.clip_rate.item() == 1.0
    assert second.norms.item() == pytest.approx(0.5)
    assert second.clip_rate.item() == 0.5


def test_transposed_gradients_are_rows_of_their_own_shape() -> None:
    (param,) = params_with([torch.tensor([[3.0, 0.3], [4.0, 0.4]]).t()])
    param.grad = param.grad.t().contiguous().t()
    report = ClipNorm(1.0, by="row", eps=0.0)([param])
    assert report.norms.tolist() == pytest.approx([5.0, 0.5])
    assert param.grad[0].tolist() == pytest.approx([0.6, 0.8])


def test_weights_that_share_memory_are_measured() -> None:
    memory = torch.full((2, 2), 3.0)
    params = [nn.Parameter(memory), nn.Parameter(memory.view(2, 2))]
    for param in params:
        param.grad = torch.full((2, 2), 8.0)
    report = ClipNorm(Relative(0.5), by="parameter", eps=0.0)(params)
    assert report.thresholds.tolist() == pytest.approx([3.0, 3.0])
    assert params[1].grad.norm().item() == pytest.approx(3.0)
