from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from apps.finance.forecast import LEVELS, TAILS
from apps.finance.heads import VARIANCE_LOSSES, Head
from apps.finance.model import MLPVolatility, RecurrentVolatility

LOSSES = ("student_t", "student_t_qlike", "gaussian", "qlike", "mse", "quantile")
BASE = torch.tensor([0.5, 2.0, 9.0])


def outcome(loss: str, output: str = "residual", raw: torch.Tensor | None = None):
    head = Head(loss, output, "zero" if loss in VARIANCE_LOSSES else "learnt")
    raw = torch.zeros(3, head.num_outputs) if raw is None else raw
    return head, head(raw, BASE)


@pytest.mark.parametrize("loss", LOSSES)
def test_an_untrained_head_is_its_base(loss):
    _, found = outcome(loss)
    assert not found.mean.any() or loss == "quantile"
    torch.testing.assert_close(found.mean, torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.variance, BASE, rtol=0.03, atol=0)


@pytest.mark.parametrize("loss", ["student_t", "gaussian", "quantile"])
def test_a_mean_is_learnt_where_it_is_wanted(loss):
    centred, moving = Head(loss, "residual"), Head(loss, "residual", "learnt")
    assert moving.num_outputs == centred.num_outputs + 1
    raw = torch.randn(3, moving.num_outputs, generator=torch.Generator().manual_seed(0))
    still, moved = centred(raw[:, :-1], BASE), moving(raw, BASE)
    torch.testing.assert_close(moved.variance, still.variance)
    if loss == "quantile":
        assert not still.quantiles[:, LEVELS.index(0.5)].any()
        assert moved.quantiles[:, LEVELS.index(0.5)].all()
    else:
        assert not still.mean.any()
        torch.testing.assert_close(moved.mean, raw[:, -1] * BASE.sqrt())


def test_softplus_needs_no_average():
    for loss in LOSSES[:4]:
        _, found = outcome(loss, "softplus")
        torch.testing.assert_close(found.variance, torch.full((3,), math.log(2) + 1e-6))
    _, dead = outcome("mse", "softplus", torch.full((3, 1), -200.0))
    torch.testing.assert_close(dead.variance, torch.full((3,), 1e-6))


def test_likelihoods_are_those_of_scipy():
    target = torch.tensor([0.4, -3.0, 1.0])
    head, found = outcome("student_t", raw=torch.tensor([[0.1, 0.2, 0.3]] * 3))
    nu = found.freedom.numpy().astype(float)
    scale = np.sqrt(found.variance.numpy() * (nu - 2) / nu)
    expected = -stats.t.logpdf(target, nu, found.mean, scale).mean()
    assert head.loss(found, target[:, None], BASE).item() == pytest.approx(expected, rel=1e-5)
    head, found = outcome("gaussian", raw=torch.tensor([[0.1, 0.2]] * 3))
    expected = -stats.norm.logpdf(target, found.mean, found.variance.sqrt()).mean()
    assert head.loss(found, target[:, None], BASE).item() == pytest.approx(expected, rel=1e-5)


def test_losses_of_the_variance_by_hand():
    returns = torch.tensor([[0.0, 1.0], [-2.0, 0.0], [1.0, -(2**0.5)]])
    realised = torch.tensor([1.0, 4.0, 3.0])
    head, found = outcome("qlike")
    expected = (BASE.log() + realised / BASE).mean()
    torch.testing.assert_close(head.loss(found, returns, BASE), expected)
    head, found = outcome("mse")
    torch.testing.assert_close(head.loss(found, returns, BASE), ((BASE - realised) ** 2).mean())


@pytest.mark.parametrize("loss", ["student_t", "gaussian"])
def test_a_likelihood_over_several_days_is_that_of_each(loss):
    head, found = outcome(
        loss, raw=torch.tensor([[0.1, 0.2, 0.3]] * 3)[:, : 3 if loss == "student_t" else 2]
    )
    days = torch.tensor([[0.4, -1.0], [2.0, 0.1], [0.0, 3.0]])
    daily = replace(found, mean=found.mean / 2, variance=found.variance / 2)
    alone = [head.loss(daily, days[:, i : i + 1], BASE) for i in (0, 1)]
    torch.testing.assert_close(head.loss(found, days, BASE), sum(alone) / 2)


def test_quantiles_never_cross_and_start_as_a_normal():
    _, found = outcome("quantile")
    np.testing.assert_allclose(found.quantiles[1] / math.sqrt(2), stats.norm.ppf(LEVELS), atol=1e-5)
    tails = -stats.norm.pdf(stats.norm.ppf(TAILS)) / TAILS
    np.testing.assert_allclose(found.shortfall[1] / math.sqrt(2), tails, atol=1e-5)
    torch.manual_seed(0)
    _, found = outcome("quantile", raw=3 * torch.randn(3, len(LEVELS) + 3))
    assert (found.quantiles.diff(dim=1) > 0).all()
    assert (found.shortfall < found.quantiles[:, [0, 1]]).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_can_be_learnt(loss):
    # Fixed raw outputs, trained on draws of a wider distribution than the moving average's.
    torch.manual_seed(0)
    head = Head(loss, "residual")
    raw = torch.zeros(1, head.num_outputs, requires_grad=True)
    target = 2 * torch.randn(4000)
    base = torch.ones(4000)
    optimizer = torch.optim.Adam([raw], 0.05)
    for _ in range(200):
        optimizer.zero_grad()
        value = head.loss(head(raw.expand(4000, -1), base), target[:, None], base)
        value.backward()
        optimizer.step()
    found = head(raw, base[:1])
    assert found.variance.item() == pytest.approx(4.0, rel=0.12)
    if found.quantiles is not None:
        np.testing.assert_allclose(
            found.quantiles[0].detach(), 2 * stats.norm.ppf(LEVELS), atol=0.35
        )


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", None])
def test_networks_start_at_zero_and_read_the_window(cell, skip):
    torch.manual_seed(0)
    make = MLPVolatility if cell is None else RecurrentVolatility
    net = make(4, 6, 3, skip=skip, **({} if cell is None else {"cell": cell})).eval()
    window = torch.randn(5, 6, 4)
    assert not net(window).any()
    torch.nn.init.normal_(net.readout.output.weight)
    out = net(window)
    assert out.shape == (5, 3)
    for day in range(6):  # every day of the window counts
        other = window.clone()
        other[:, day] += 1
        assert (net(other) != out).all()
    assert any(name.startswith("readout.skip") for name, _ in net.named_parameters()) == skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 0}, "hidden_size must be >= 1"),
        ({"num_layers": 0}, "num_layers must be >= 1"),
        ({"dropout": 1.0}, "dropout must be a share"),
        ({"cell": "brain"}, "cell must be one of"),
    ],
)
def test_wrong_sizes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        RecurrentVolatility(4, 6, 3, **change)
