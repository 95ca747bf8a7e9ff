from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.energy.model import MLPForecaster, QuantileHead, RecurrentForecaster

SIZES = {"past_size": 5, "future_size": 7, "num_quantiles": 9}
VARIANTS = [
    (RecurrentForecaster, {"cell": "gru"}),
    (RecurrentForecaster, {"cell": "lstm", "num_layers": 2}),
    (RecurrentForecaster, {"cell": "rnn"}),
    (MLPForecaster, {"num_layers": 3, "step_size": 2}),
]


def make(kind, settings, lookback: int = 6, horizon: int = 4, hidden_size: int = 8):
    torch.manual_seed(0)
    return kind(lookback=lookback, horizon=horizon, hidden_size=hidden_size, **SIZES, **settings)


@pytest.mark.parametrize(("kind", "settings"), VARIANTS)
@pytest.mark.parametrize(("lookback", "horizon"), [(1, 1), (6, 4), (3, 24)])
def test_shapes(kind, settings, lookback, horizon):
    net = make(kind, settings, lookback, horizon)
    out = net(torch.randn(3, lookback, 5), torch.randn(3, horizon, 7))
    assert out.shape == (3, horizon, 9)


@pytest.mark.parametrize(("kind", "settings"), VARIANTS)
def test_every_parameter_takes_part(kind, settings):
    net = make(kind, settings)
    with torch.no_grad():  # the output layer starts at zero and would hide what is before it
        net.head.output.weight.normal_()
    net(torch.randn(3, 6, 5), torch.randn(3, 4, 7)).square().sum().backward()
    silent = [
        name
        for name, param in net.named_parameters()
        if param.grad is None or not param.grad.abs().sum() > 0
    ]
    assert silent == []


@pytest.mark.parametrize(("kind", "settings"), VARIANTS)
def test_past_and_every_future_step_reach_the_forecast(kind, settings):
    net = make(kind, settings).eval()
    with torch.no_grad():
        net.head.output.weight.normal_()
    past = torch.randn(1, 6, 5, requires_grad=True)
    future = torch.randn(1, 4, 7, requires_grad=True)
    net(past, future)[0, 1, 4].backward()
    assert (past.grad.abs().sum(-1) > 0).all()
    assert (future.grad.abs().sum(-1) > 0).all()


@settings(max_examples=50)
@given(
    seed=st.integers(0, 10**6),
    spread=st.floats(0.01, 30),
    half=st.integers(0, 6),
    variant=st.sampled_from(VARIANTS),
)
def test_quantiles_never_cross(seed, spread, half, variant):
    kind, more = variant
    torch.manual_seed(seed)
    net = kind(
        past_size=2,
        future_size=3,
        lookback=2,
        horizon=3,
        num_quantiles=2 * half + 1,
        hidden_size=4,
        **more,
    )
    with torch.no_grad():
        for param in net.parameters():
            param.normal_(std=spread)
    out = net(spread * torch.randn(4, 2, 2), spread * torch.randn(4, 3, 3))
    assert out.shape[-1] == 2 * half + 1
    assert (out.diff(dim=-1) >= 0).all()


def test_the_head_starts_at_its_base():
    head = QuantileHead(4, 5)
    base = torch.tensor([[2.0], [-1.0]])
    out = head(torch.randn(2, 4), base)
    torch.testing.assert_close(out[:, 2:3], base)
    assert (out.diff(dim=-1) > 0).all()
    torch.testing.assert_close(out - base, -(out - base).flip(-1))


@pytest.mark.parametrize(("kind", "settings"), VARIANTS)
def test_evaluation_is_deterministic_and_independent_of_the_batch(kind, settings):
    net = make(kind, settings).eval()
    past, future = torch.randn(5, 6, 5), torch.randn(5, 4, 7)
    whole = net(past, future)
    torch.testing.assert_close(net(past, future), whole, rtol=0, atol=0)
    torch.testing.assert_close(net(past[2:3], future[2:3]), whole[2:3])


@pytest.mark.parametrize(("kind", "settings"), VARIANTS[:1] + VARIANTS[-1:])
@pytest.mark.parametrize(
    ("name", "value"), [("num_quantiles", 4), ("dropout", 1.0), ("hidden_size", 0)]
)
def test_impossible_sizes(kind, settings, name, value):
    sizes = {**SIZES, "lookback": 2, "horizon": 2, "hidden_size": 4, **settings, name: value}
    with pytest.raises(ValueError, match=name):
        kind(**sizes)


def test_unknown_cell():
    with pytest.raises(ValueError, match="cell must be one of gru, lstm, rnn, got 'brain'"):
        make(RecurrentForecaster, {"cell": "brain"})
