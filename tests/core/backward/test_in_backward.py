"""Clipping inside the backward pass: exact where nothing binds, Graves' clamp where it does."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from gradclip_core import ClipBackward, ClipNorm, NonFiniteGradientError, chain, clip_backward
from tests.core.copies import COPIES, copied

KINDS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def layer(kind: str = "rnn", seed: int = 0, **settings: Any) -> nn.RNNBase:
    torch.manual_seed(seed)
    made: nn.RNNBase = KINDS[kind](3, 4, dtype=torch.float64, **settings)
    return made


def gradients(module: nn.Module, x: Any, weights: Tensor) -> dict[str, Tensor]:
    """The gradients of a loss over outputs and final states."""
    module.zero_grad()
    output, state = module(x)
    states = state if isinstance(state, tuple) else (state,)
    if not isinstance(output, Tensor):
        output, _ = pad_packed_sequence(output)
    loss = (output * weights[: output.numel()].view_as(output)).sum()
    (loss + sum(s.square().sum() for s in states)).backward()
    return {name: param.grad.clone() for name, param in module.named_parameters()}


@given(
    kind=st.sampled_from(sorted(KINDS)),
    layers=st.integers(1, 2),
    batch_first=st.booleans(),
    batch=st.sampled_from([None, 1, 3]),
    length=st.integers(1, 7),
    every=st.sampled_from([1, 2, 5, 20, None]),
    bidirectional=st.booleans(),
)
@settings(max_examples=40)
def test_without_a_binding_bound_nothing_changes(
    kind: str,
    layers: int,
    batch_first: bool,
    batch: Any,
    length: int,
    every: Any,
    bidirectional: Any,
) -> None:
    settings = {"num_layers": layers, "batch_first": batch_first, "bidirectional": bidirectional}
    module = layer(kind, **settings)
    shape = [length] if batch is None else ([batch, length] if batch_first else [length, batch])
    x = torch.randn(*shape, 3, dtype=torch.float64)
    weights = torch.randn(1000, dtype=torch.float64)
    expected, output = gradients(module, x, weights), module(x)[0]
    clipper = ClipBackward(1e6, every=every).attach(model=module)
    torch.testing.assert_close(gradients(module, x, weights), expected)
    torch.testing.assert_close(module(x)[0], output)
    assert clipper(module).clipped.item() is False


def graves(module: nn.RNN, x: np.ndarray, weights: np.ndarray, bound: float, every: int) -> Any:
    """Back-propagation through time of a tanh layer by hand; the gradient of the recurrence."""
    w, u, b, c = (param.detach().numpy() for param in module.parameters())
    states = [np.zeros(4)]
    for row in x:
        states.append(np.tanh(w @ row + b + u @ states[-1] + c))
    later, result = np.zeros(4), np.zeros_like(u)
    for t in range(len(x), 0, -1):
        if t % every == 0:  # where a state is handed on
            later = np.clip(later, -bound, bound)
        delta = (np.clip(weights[t - 1], -bound, bound) + later) * (1 - states[t] ** 2)
        result += np.outer(delta, states[t - 1])
        later = u.T @ delta
    return result


@pytest.mark.parametrize("every", [1, 3, 7])
@pytest.mark.parametrize("bound", [0.05, 0.5, 100.0])
@pytest.mark.parametrize("seed", range(3))
def test_it_equals_back_propagation_with_clamped_states(
    seed: int, bound: float, every: int
) -> None:
    module = layer("rnn", seed)
    x, weights = torch.randn(2, 12, 4, dtype=torch.float64).unbind()
    expected = graves(module, x[:, :3].numpy(), weights.numpy(), bound, every)
    clipper = ClipBackward(bound, every=every).attach(model=module)
    (module(x[:, :3])[0] * weights).sum().backward()
    np.testing.assert_allclose(module.weight_hh_l0.grad.numpy(), expected, rtol=1e-9, atol=1e-12)
    assert clipper(module).clipped.item() is (bound < 100)


@pytest.mark.parametrize("bound", [{"max_value": 0.5}, {"max_norm": 0.5}])
def test_an_explosion_through_300_steps_is_stopped_where_it_begins(bound: Any) -> None:
    def run(clipper: ClipBackward | None) -> Tensor:
        module = nn.RNN(2, 2, bias=False)
        with torch.no_grad():
            module.weight_ih_l0.copy_(torch.eye(2))
            module.weight_hh_l0.copy_(3 * torch.eye(2))
        if clipper is not None:
            clipper.attach(model=module)
        x = torch.zeros(300, 1, 2, requires_grad=True)
        module(x)[0][-1].sum().backward()
        return x.grad

    assert not run(None).isfinite().all()
    stopped = run(ClipBackward(**bound))
    assert stopped.isfinite().all()
    assert 0 < stopped.abs().max() <= 3


def test_clip_backward_clamps_only_what_passes_through_it() -> None:
    x = torch.tensor([1.0, 1.0], requires_grad=True)
    y = clip_backward(x, max_value=2.0)
    assert torch.equal(y, x)
    (5 * y[0] - 7 * y[1] + 3 * x.sum()).backward()
    assert x.grad.tolist() == [5.0, 1.0]


@given(
    st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=1, max_size=5), st.floats(0.1, 10.0)
)
@settings(max_examples=60)
def test_clip_backward_by_norm_equals_torch(values: list[float], bound: float) -> None:
    x, param = torch.zeros(len(values), requires_grad=True), nn.Parameter(torch.zeros(len(values)))
    (clip_backward(x, max_norm=bound) * torch.tensor(values)).sum().backward()
    param.grad = torch.tensor(values)
    ClipNorm(bound, eps=0)(param)
    torch.testing.assert_close(x.grad, param.grad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.complex64])
def test_other_dtypes_and_nan(dtype: Any) -> None:
    x = torch.ones(2, dtype=dtype, requires_grad=True)
    out = clip_backward(x, max_norm=1.0) if dtype.is_complex else clip_backward(x, max_value=1.0)
    (out * 3).abs().sum().backward()
    assert x.grad.dtype is dtype
    assert x.grad.abs().max() <= 1
    y = torch.ones(2, requires_grad=True)
    (clip_backward(y, max_value=1.0) * torch.tensor([math.nan, math.inf])).sum().backward()
    assert y.grad.isnan().tolist() == [True, False]
    assert y.grad[1].item() == 1.0


def test_tensors_without_gradients_pass() -> None:
    x = torch.ones(2)
    assert clip_backward(x, max_value=1.0) is x


@pytest.mark.parametrize("kind", KINDS)
def test_packed_sequences_are_clipped_at_their_ends(kind: str) -> None:
    module, weights = layer(kind), torch.full((1000,), 50.0, dtype=torch.float64)
    packed = pack_padded_sequence(torch.randn(5, 2, 3, dtype=torch.float64), [5, 3])
    free = gradients(module, packed, weights)
    loose = ClipBackward(1e6).attach(model=module)
    torch.testing.assert_close(gradients(module, packed, weights), free)
    loose.detach()
    clipper = ClipBackward(1e-3).attach(model=module)
    bound = gradients(module, packed, weights)
    assert clipper(module).clipped.item() is True
    assert all(bound[name].abs().max() < 1e-2 * free[name].abs().max() for name in free)


def test_after_detach_the_model_is_as_before() -> None:
    model = nn.ModuleDict({"a": layer("lstm"), "b": nn.Linear(2, 2)})
    before = dict(model["a"].__dict__)
    clipper = ClipBackward(1e-3).attach(model=model)
    assert "forward" in model["a"].__dict__
    clipper.attach(model=model)  # anew: not twice
    clipper.detach()
    assert model["a"].__dict__.keys() == before.keys()
    clipper.detach()
    x, weights = torch.randn(4, 3, dtype=torch.float64), torch.ones(1000, dtype=torch.float64)
    torch.testing.assert_close(
        gradients(model["a"], x, weights), gradients(layer("lstm"), x, weights)
    )


def test_two_clippers_on_a_model_leave_it_one_after_the_other() -> None:
    model = layer()
    first, second = (ClipBackward(b).attach(model=model) for b in (1.0, 2.0))
    second.detach()
    first.detach()
    assert "forward" not in model.__dict__


def test_evaluation_is_not_cut_into_pieces() -> None:
    model = layer("lstm")
    ClipBackward(1.0).attach(model=model)
    x = torch.randn(5, 3, dtype=torch.float64)
    with torch.no_grad():
        output, _ = model(x)
    assert torch.equal(output, layer("lstm")(x)[0])


def loop(clipper: Any, model: nn.Module, steps: range, bad: float | None = None) -> None:
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    clipper.attach(model=model, optimizer=optimizer)
    for step in steps:
        x = torch.randn(6, 2, 3, generator=torch.Generator().manual_seed(step)).double()
        optimizer.zero_grad()
        loss = model(x)[0].square().sum() * (bad if bad is not None and step % 7 == 3 else 1.0)
        loss.backward()
        clipper(model, loss=loss)
        optimizer.step()


@pytest.mark.parametrize("policy", ["skip", "zero"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, 1e30])
def test_no_loss_poisons_or_freezes_it(policy: Any, bad: float) -> None:
    model, clipper = layer("gru"), ClipBackward(0.5, nonfinite=policy)
    loop(clipper, model, range(20), bad)
    assert all(param.isfinite().all() for param in model.parameters())
    kept = model.weight_hh_l0.detach().clone()
    loop(clipper, model, range(20, 22))
    assert not torch.equal(model.weight_hh_l0, kept)


def test_the_guard_raises_and_names_the_tensor() -> None:
    with pytest.raises(NonFiniteGradientError, match="weight_ih_l0"):
        loop(ClipBackward(0.5, nonfinite="raise"), layer(), range(5), math.nan)


def test_what_was_clipped_counts_once() -> None:
    model, clipper = layer(), ClipBackward(1e-3)
    loop(clipper, model, range(1))
    assert clipper.last_report.clipped.item() is True
    assert (clipper.last_report.threshold.item(), clipper.steps.item()) == (1e-3, 1)
    assert clipper(model).clipped.item() is False


def test_it_works_as_the_first_clipper_of_a_chain() -> None:
    model = layer("lstm")
    clipper = chain(ClipBackward(0.01), ClipNorm(1e-3, eps=0))
    loop(clipper, model, range(1))
    assert [stage.clipped.item() for stage in clipper.last_report.stages] == [True, True]
    assert clipper.last_report.clipped_norm.item() == pytest.approx(1e-3)


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_goes_on_bit_for_bit(kind: str) -> None:
    whole, model = layer("lstm"), layer("lstm")
    clipper = ClipBackward(0.01)
    loop(ClipBackward(0.01), whole, range(40))
    loop(clipper, model, range(20))
    other: Any = copied(kind, clipper, lambda: ClipBackward(0.01))
    clipper.detach()
    loop(other, model, range(20, 40))
    torch.testing.assert_close(model.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert other.steps.item() == 40


def test_a_copy_of_the_model_is_attached_on_its_own() -> None:
    model = layer()
    ClipBackward(1e-3).attach(model=model)
    twin = copy.deepcopy(model)
    x, weights = torch.randn(4, 3, dtype=torch.float64), torch.ones(1000, dtype=torch.float64)
    gradients(twin, x, weights)
    assert all(param.grad is None for param in model.parameters())
    torch.testing.assert_close(gradients(twin, x, weights), gradients(model, x, weights))


def test_it_needs_a_recurrent_model() -> None:
    message = "^ClipBackward needs a model with nn.RNN, nn.LSTM or nn.GRU layers, got "
    with pytest.raises(ValueError, match=message + "Linear; elsewhere call clip_backward"):
        ClipBackward(1.0).attach(model=nn.Linear(1, 1))
    with pytest.raises(ValueError, match=message + "no model"):
        ClipBackward(1.0).attach()
    with pytest.raises(ValueError, match=r"^ClipBackward works in the backward pass: call clipper"):
        ClipBackward(1.0)(nn.Linear(1, 1))


@pytest.mark.parametrize("make", [ClipBackward, lambda **kw: clip_backward(torch.ones(1), **kw)])
def test_the_bound_is_checked(make: Callable[..., Any]) -> None:
    for both in ({}, {"max_value": 1.0, "max_norm": 1.0}):
        with pytest.raises(
            ValueError, match=r"^one of max_value and max_norm must be a number > 0"
        ):
            make(**both)
    for name in ("max_value", "max_norm"):
        for bad in (0, -1.0, math.nan, True, "x"):
            with pytest.raises(ValueError, match=f"^{name} must be a number > 0, got"):
                make(**{name: bad})


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "x"])
def test_every_is_checked(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^every must be an integer >= 1 or None, got"):
        ClipBackward(1.0, every=bad)
