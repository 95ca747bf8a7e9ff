"""The functions of torch.nn.utils: what PyTorch's own tests ask of them, and more."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gradclip_core import ClipNorm, ClipUpdate, ClipValue, functional

NAMES = ["clip_grad_norm_", "clip_grad_value_", "get_total_norm", "clip_grads_with_norm_"]
ORDERS = [0.5, 1.5, 2, 4, "inf", math.inf]
FOREACH = [None, False, True]


def layer(scale: float = 1.0, dtype: torch.dtype = torch.float32) -> nn.Linear:
    """A layer with the gradients 1, 2, 3, ..., 100 in its weight and 1, ..., 10 over 1000."""
    made = nn.Linear(10, 10).to(dtype)
    weight = torch.arange(1.0, 101).view(10, 10) * scale
    bias = torch.arange(1.0, 11).div(1000) * scale
    made.weight.grad, made.bias.grad = weight.to(dtype), bias.to(dtype)
    return made


def grads_of(module: nn.Module) -> list[Tensor]:
    return [param.grad for param in module.parameters() if param.grad is not None]


def whole_norm(module: nn.Module, order: Any) -> float:
    vector = torch.cat([grad.double().flatten() for grad in grads_of(module)])
    return torch.linalg.vector_norm(vector, float(order)).item()


@pytest.mark.parametrize("name", NAMES)
def test_signatures_begin_with_those_of_pytorch(name: str) -> None:
    theirs = inspect.signature(getattr(nn.utils, name)).parameters
    ours = dict(inspect.signature(getattr(functional, name)).parameters)
    further = [ours.pop(key) for key in list(ours) if key not in theirs]
    assert list(ours) == list(theirs)
    assert [p.default for p in ours.values()] == [p.default for p in theirs.values()]
    assert all(p.kind is p.KEYWORD_ONLY for p in further)


@pytest.mark.parametrize("foreach", FOREACH)
@pytest.mark.parametrize("order", ORDERS)
def test_the_norm_is_returned_and_bounded_and_the_direction_stays(order: Any, foreach: Any) -> None:
    module = layer()
    before = [grad.clone() for grad in grads_of(module)]
    expected = whole_norm(module, order)
    norm = functional.clip_grad_norm_(module.parameters(), 2.0, norm_type=order, foreach=foreach)
    assert norm.shape == ()
    assert norm.item() == pytest.approx(expected, rel=1e-5)
    assert whole_norm(module, order) == pytest.approx(2.0, rel=1e-5)
    ratios = torch.cat([(b / g).flatten() for b, g in zip(before, grads_of(module), strict=True)])
    # float32 quotients of numbers that were multiplied by one factor
    torch.testing.assert_close(ratios, torch.full_like(ratios, ratios[0].item()), rtol=1e-5, atol=0)


@pytest.mark.parametrize("foreach", FOREACH)
@pytest.mark.parametrize("order", ORDERS)
def test_small_gradients_stay_to_the_last_bit(order: Any, foreach: Any) -> None:
    module = layer(1e-6)
    before = [grad.clone() for grad in grads_of(module)]
    functional.clip_grad_norm_(module.parameters(), 1e6, norm_type=order, foreach=foreach)
    assert all(torch.equal(b, g) for b, g in zip(before, grads_of(module), strict=True))


@pytest.mark.parametrize("foreach", FOREACH)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("order", ORDERS)
def test_a_norm_that_is_not_finite_is_an_error_if_asked(
    order: Any, bad: float, foreach: Any
) -> None:
    module, twin = layer(), layer()
    for made in (module, twin):
        made.bias.grad[3] = bad  # type: ignore[index]
    before = [grad.clone() for grad in grads_of(module)]
    with pytest.raises(
        RuntimeError, match=f"^The total norm of order {float(order)} for gradients"
    ):
        functional.clip_grad_norm_(
            module.parameters(), 1.0, order, error_if_nonfinite=True, foreach=foreach
        )
    for after, kept in zip(grads_of(module), before, strict=True):
        torch.testing.assert_close(after, kept, rtol=0, atol=0, equal_nan=True)
    ours = functional.clip_grad_norm_(module.parameters(), 1.0, order, foreach=foreach)
    theirs = nn.utils.clip_grad_norm_(twin.parameters(), 1.0, order, foreach=foreach)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(grads_of(module), grads_of(twin), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("foreach", FOREACH)
def test_values_are_clamped_also_of_one_tensor_and_of_a_generator(foreach: Any) -> None:
    module = layer(0.1)
    functional.clip_grad_value_(module.parameters(), 2.5, foreach=foreach)
    assert max(grad.abs().max().item() for grad in grads_of(module)) == 2.5
    assert module.bias.grad is not None
    assert module.bias.grad[9].item() == pytest.approx(0.001)
    functional.clip_grad_value_(module.weight, 1.5, foreach=foreach)
    functional.clip_grad_value_((p for p in [module.weight]), 1.25, foreach=foreach)
    assert module.weight.grad is not None
    assert module.weight.grad.max().item() == 1.25


@pytest.mark.parametrize("foreach", FOREACH)
@pytest.mark.parametrize("order", [0.5, 1, 2, 4, "inf"])
def test_the_two_halves_make_the_whole(order: Any, foreach: Any) -> None:
    module, twin = layer(), layer()
    norm = functional.get_total_norm(grads_of(module), order, foreach=foreach)
    functional.clip_grads_with_norm_(module.parameters(), 2.0, norm, foreach=foreach)
    returned = functional.clip_grad_norm_(twin.parameters(), 2.0, order, foreach=foreach)
    torch.testing.assert_close(norm, returned, rtol=1e-6, atol=0)
    torch.testing.assert_close(grads_of(module), grads_of(twin), rtol=1e-6, atol=0)


EMPTY: dict[str, Callable[[], Any]] = {
    "list": list,
    "tuple": tuple,
    "generator": lambda: iter(()),
    "filter": lambda: filter(None, []),
}


@pytest.mark.parametrize("empty", EMPTY)
def test_without_parameters_it_warns_and_returns_zero(empty: str) -> None:
    with pytest.warns(UserWarning, match="no gradient clipping will occur"):
        norm = functional.clip_grad_norm_(EMPTY[empty](), 1.0)
    assert torch.equal(norm, torch.tensor(0.0))
    assert torch.equal(functional.get_total_norm(EMPTY[empty]()), torch.tensor(0.0))
    with pytest.warns(UserWarning, match="no gradient clipping will occur"):
        functional.clip_grad_value_(EMPTY[empty](), 1.0)


def test_parameters_without_gradients_are_passed_by_in_silence() -> None:
    module = nn.Linear(2, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(functional.clip_grad_norm_(module.parameters(), 1.0), torch.tensor(0.0))
        functional.clip_grad_value_(module.parameters(), 1.0)
        functional.clip_grads_with_norm_(module.parameters(), 1.0, torch.tensor(3.0))


def test_none_as_the_bound_measures_only() -> None:
    module = layer()
    before = [grad.clone() for grad in grads_of(module)]
    norm = functional.clip_grad_norm_(module.parameters(), None)
    assert norm.item() == pytest.approx(whole_norm(module, 2), rel=1e-6)
    assert functional.clip_grad_norm_(module.parameters(), None, foreach=False).item() > 1
    functional.clip_grad_value_(module.parameters(), None)
    functional.clip_grads_with_norm_(module.parameters(), None, norm)
    assert all(torch.equal(b, g) for b, g in zip(before, grads_of(module), strict=True))


@pytest.mark.parametrize("bound", [0, 0.0, -1.0, 3, torch.tensor(0.5), math.inf])
def test_bounds_mean_what_they_mean_to_pytorch(bound: Any) -> None:
    module, twin = layer(), layer()
    ours = functional.clip_grad_norm_(module.parameters(), bound)
    theirs = nn.utils.clip_grad_norm_(twin.parameters(), bound)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    # One float32 factor each, of norms that differ in the last digit.
    torch.testing.assert_close(grads_of(module), grads_of(twin), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_are_those_of_pytorch(dtype: torch.dtype) -> None:
    module, twin = layer(dtype=dtype), layer(dtype=dtype)
    ours = functional.clip_grad_norm_(module.parameters(), 2.0)
    theirs = nn.utils.clip_grad_norm_(twin.parameters(), 2.0)
    assert ours.dtype is theirs.dtype is dtype
    digits = {torch.float16: 2e-3, torch.bfloat16: 2e-2}.get(dtype, 1e-6)
    torch.testing.assert_close(ours, theirs, rtol=digits, atol=0)
    torch.testing.assert_close(grads_of(module), grads_of(twin), rtol=digits, atol=digits)


def test_a_half_precision_norm_that_overflows_still_clips() -> None:
    module = layer(500.0, torch.float16)
    norm = functional.clip_grad_norm_(module.parameters(), 1.0, error_if_nonfinite=True)
    assert norm.isinf()  # there is no such number in its dtype
    # Gradients of 1 / 300 in fp16 keep three digits.
    assert whole_norm(module, 2) == pytest.approx(1.0, rel=1e-2)


def test_mixed_dtypes_and_meta_follow_pytorch() -> None:
    tensors = [torch.ones(3, dtype=torch.float16), torch.ones(4), torch.ones(2).double()]
    ours, theirs = functional.get_total_norm(tensors), nn.utils.get_total_norm(tensors)
    assert ours.dtype is theirs.dtype is torch.float64
    assert ours.item() == pytest.approx(3.0)
    module = nn.Linear(2, 2, device="meta")
    for param in module.parameters():
        param.grad = torch.ones_like(param)
    assert functional.clip_grad_norm_(module.parameters(), 1.0).device.type == "meta"
    functional.clip_grad_value_(module.parameters(), 1.0)


def test_sparse_complex_and_graphs_follow_pytorch() -> None:
    embedding = nn.Embedding(4, 2, sparse=True)
    embedding(torch.tensor([1, 1, 3])).sum().backward()
    values = torch.view_as_complex(torch.tensor([[3.0, 4.0]]))
    assert functional.get_total_norm([values]).item() == pytest.approx(5.0)
    assert functional.get_total_norm(torch.ones(4, requires_grad=True)).requires_grad is False
    param = nn.Parameter(torch.ones(4))
    param.grad = torch.ones(4)
    functional.clip_grad_norm_(param, 1.0)
    assert param.grad.norm().item() == pytest.approx(1.0, rel=1e-5)


@given(
    shapes=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5)), min_size=1, max_size=5),
    order=st.sampled_from([1.0, 2.0, 3.0, math.inf]),
    bound=st.floats(1e-3, 1e3),
    seed=st.integers(0, 9),
)
@settings(max_examples=40, deadline=None)
def test_it_agrees_with_pytorch_on_whatever_there_is(
    shapes: list[tuple[int, int]], order: float, bound: float, seed: int
) -> None:
    made = torch.Generator().manual_seed(seed)
    grads = [torch.randn(shape, generator=made) * 10 for shape in shapes]
    if math.isinf(order):
        grads = [grad for grad in grads if grad.numel()] or [torch.ones(1)]  # torch has no maximum
    pairs = []
    for clip in (functional.clip_grad_norm_, nn.utils.clip_grad_norm_):
        params = [nn.Parameter(torch.zeros_like(grad)) for grad in grads]
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad.clone()
        pairs.append((clip(params, bound, order), [param.grad for param in params]))
    torch.testing.assert_close(*pairs, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["clip_grad_norm_", "clip_grad_value_"])
@pytest.mark.parametrize("module", [nn.utils, functional])
def test_a_compiled_step_is_one_graph(name: str, module: Any) -> None:
    def step(param: Tensor) -> Tensor:
        getattr(module, name)([param], 0.5)
        assert param.grad is not None
        return param.grad * 1

    if not hasattr(torch.optim, "Muon"):
        pytest.skip("older torch, as 2.6, breaks the graph of its own functions")
    param = nn.Parameter(torch.ones(4))
    param.grad = torch.ones(4)
    clipped = torch.compile(step, backend="eager", fullgraph=True)(param)
    expected = 0.25 if name == "clip_grad_norm_" else 0.5
    torch.testing.assert_close(clipped, torch.full((4,), expected), rtol=1e-5, atol=0)


@pytest.mark.parametrize("foreach", FOREACH)
def test_a_program_may_put_them_in_the_place_of_pytorchs(
    foreach: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES:
        monkeypatch.setattr(nn.utils, name, getattr(functional, name))
    module = layer()
    norm = nn.utils.clip_grad_norm_(module.parameters(), 2.0, foreach=foreach)
    assert norm.item() == pytest.approx(581.6786, rel=1e-5)
    # Two float32 sums of a hundred squares.
    assert whole_norm(module, 2) == pytest.approx(2.0, rel=1e-5)


def _halves() -> Iterator[nn.Linear]:
    yield layer()
    yield layer()


@pytest.mark.parametrize("scale", [1.0, math.nan])
def test_a_norm_from_outside_serves_a_rule(scale: float) -> None:
    whole, part = _halves()
    norm = functional.get_total_norm(grads_of(whole)) * math.sqrt(2) * scale
    clipper, before = ClipNorm(1.0), grads_of(part)[0].clone()
    report = clipper.clip_with_norm(part, norm)
    if math.isnan(scale):
        assert report.skipped
        assert part.weight.grad is None
        return
    assert report.norm.item() == pytest.approx(norm.item())
    assert report.clipped_norm.item() == pytest.approx(1.0, rel=1e-5)
    torch.testing.assert_close(part.weight.grad, before / norm, rtol=1e-5, atol=0)
    assert clipper.steps.item() == 1
    assert clipper(layer()).norm.item() == pytest.approx(whole_norm(layer(), 2))


@pytest.mark.parametrize(
    "rule", [ClipNorm(1.0, by="parameter"), ClipNorm(1.0, measure="rms"), ClipUpdate(1.0)]
)
def test_a_norm_from_outside_needs_a_rule_on_the_whole_gradient(rule: ClipNorm) -> None:
    with pytest.raises(ValueError, match=r"^a norm from outside is one number"):
        rule.clip_with_norm(layer(), 1.0)


def test_there_is_one_for_rules_by_norm_alone() -> None:
    assert not hasattr(ClipValue(1.0), "clip_with_norm")
