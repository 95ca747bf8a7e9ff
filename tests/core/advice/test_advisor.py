"""The advisor in a loop: it measures, changes nothing, and says what it saw."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gradclip_core
from gradclip_core import Advisor
from gradclip_core.lightning import GradientClipping


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))


def closure_for(
    net: nn.Module, optimizer: torch.optim.Optimizer, scale: Callable[[int], float] = lambda t: 1.0
) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(1)
    calls = iter(range(10_000))

    def closure() -> Tensor:
        optimizer.zero_grad()
        x = torch.randn(8, 3, generator=generator)
        loss = scale(next(calls)) * (net(x) - x.sum(1, keepdim=True)).square().mean()
        loss.backward()
        return loss

    return closure


def test_a_loop_of_ones_own_and_the_one_call_agree() -> None:
    net = make_net()
    optimizer = torch.optim.SGD(net.parameters(), 0.05)
    closure, advisor, norms = closure_for(net, optimizer), Advisor(), []
    for _ in range(60):
        closure()
        advisor(net.named_parameters())
        grads = [param.grad for param in net.parameters()]
        norms.append(float(torch.nn.utils.get_total_norm(grads)))
        optimizer.step()
    assert advisor.record.norms.tolist() == pytest.approx(norms)

    twin = make_net()
    other = torch.optim.SGD(twin.parameters(), 0.05)
    advice = gradclip_core.advise(twin, other, closure_for(twin, other), steps=60)
    assert advice == advisor.advise(optimizer)
    for mine, theirs in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_what_is_recorded_is_what_torch_measures() -> None:
    net, advisor = make_net(), Advisor()
    closure_for(net, torch.optim.SGD(net.parameters(), 0.1))()
    before = [param.grad.clone() for param in net.parameters()]
    advisor(net)
    record = advisor.record
    params = list(net.parameters())
    assert all(torch.equal(p.grad, b) for p, b in zip(params, before, strict=True))
    assert record.names == ("0.weight", "0.bias", "2.weight", "2.bias")
    assert record.modules == {"0": (0, 1), "2": (2, 3)}
    assert record.parameters[0].tolist() == pytest.approx([float(b.norm()) for b in before])
    assert record.weights[0].tolist() == pytest.approx([float(p.detach().norm()) for p in params])
    units = [p.grad.norm(dim=1) / p.detach().norm(dim=1) for p in (params[0], params[2])]
    assert float(record.unit_ratios[0]) == pytest.approx(float(torch.cat(units).max()))


def test_agc_looks_at_no_head_and_no_vector() -> None:
    head, body = nn.Parameter(torch.ones(1, 2)), nn.Parameter(torch.ones(2, 2))
    bias = nn.Parameter(torch.ones(2))
    for param, value in ((head, 100.0), (body, 1.0), (bias, 50.0)):
        param.grad = torch.full_like(param, value)
    advisor = Advisor()
    advisor([("net.head.weight", head), ("net.body.weight", body), ("net.body.bias", bias)])
    assert float(advisor.record.unit_ratios[0]) == pytest.approx(1.0)
    assert advisor.record.modules == {"net.head": (0,), "net.body": (1, 2)}


def test_without_names_each_parameter_is_a_part() -> None:
    net, advisor = make_net(), Advisor()
    closure_for(net, torch.optim.SGD(net.parameters(), 0.1))()
    advisor(net.parameters())
    assert advisor.record.unit_ratios.isnan().all()
    assert len(advisor.record.modules) == 4
    assert advisor.record.names[0] == "parameter 0 of shape (5, 3)"


def test_a_training_that_breaks_down_ends_there_and_is_advised() -> None:
    net = make_net()
    optimizer = torch.optim.SGD(net.parameters(), 0.05)
    closure = closure_for(net, optimizer, lambda t: 1.0 if t < 30 else float("nan"))
    advice = gradclip_core.advise(net, optimizer, closure)
    assert (advice.norms.steps, advice.norms.nonfinite) == (31, 1)
    assert advice.choice.strategy == "global_norm"
    assert all(param.isfinite().all() for param in net.parameters()), "it ended before the step"


def test_only_the_window_is_remembered() -> None:
    net, advisor = make_net(), Advisor(window=5)
    closure, norms = closure_for(net, torch.optim.SGD(net.parameters(), 0.1)), []
    for _ in range(12):
        closure()
        norms.append(float(advisor(net).norm))
    assert advisor.record.norms.tolist() == norms[-5:]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_copy_goes_on_by_itself(copied: Callable[[Advisor], Advisor]) -> None:
    net, advisor = make_net(), Advisor()
    closure = closure_for(net, torch.optim.SGD(net.parameters(), 0.1))
    closure()
    advisor(net)
    twin = copied(advisor)
    closure()
    twin(net)
    assert (len(advisor.record.norms), len(twin.record.norms)) == (1, 2)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, None, "10"])
def test_arguments(wrong: Any) -> None:
    with pytest.raises(ValueError, match="window must be an integer >= 1"):
        Advisor(window=wrong)
    net = make_net()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    with pytest.raises(ValueError, match="steps must be an integer >= 1"):
        gradclip_core.advise(net, optimizer, lambda: torch.zeros(()), steps=wrong)


def test_nothing_recorded() -> None:
    advisor, net = Advisor(), make_net()
    with pytest.raises(ValueError, match="nothing was recorded"):
        advisor.advise()
    advisor(net)  # without gradients there is nothing to record
    with pytest.raises(ValueError, match="nothing was recorded"):
        advisor.advise()
    closure_for(net, torch.optim.SGD(net.parameters(), 0.1))()
    advisor(net)
    with pytest.raises(ValueError, match="too few steps to advise from: 1 "):
        advisor.advise()


@pytest.mark.parametrize("named", [True, False])
def test_parameters_may_come_and_go(named: bool) -> None:
    net, advisor = make_net(), Advisor()
    params = list(net.named_parameters())
    plans = [params[2:], params, params[:2], params[2:]]
    closure = closure_for(net, torch.optim.SGD(net.parameters(), 0.1))
    norms = []
    for plan in plans:
        closure()
        advisor(plan if named else [param for _, param in plan])
        norms.append({name: float(param.grad.norm()) for name, param in plan})  # type: ignore[union-attr]
    record, order = advisor.record, [name for name, _ in params[2:] + params[:2]]
    wanted = torch.tensor([[row.get(name, 0.0) for name in order] for row in norms])
    torch.testing.assert_close(record.parameters, wanted.double(), rtol=1e-5, atol=0)
    torch.testing.assert_close(record.norms, wanted.double().norm(dim=1), rtol=1e-5, atol=0)
    weights = torch.stack([dict(params)[name].detach().norm() for name in order])
    torch.testing.assert_close(record.weights, weights.double().expand(4, 4), rtol=1e-5, atol=0)
    if named:
        assert record.names == tuple(order)
        assert record.modules == {"2": (0, 1), "0": (2, 3)}


def test_a_layer_that_was_unfrozen_is_in_the_advice() -> None:
    net, advisor = make_net(), Advisor()
    optimizer = torch.optim.SGD(net.parameters(), 0.05)
    closure = closure_for(net, optimizer)
    for step in range(60):
        closure()
        advisor(net[2].named_parameters("2") if step < 20 else net)
        optimizer.step()
    advice = advisor.advise(optimizer)
    assert {part.name: part.zero_steps for part in advice.modules} == {"2": 0.0, "0": 20 / 60}


def test_in_a_lightning_trainer(trainer: Callable[..., Any]) -> None:
    import lightning.pytorch as pl

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = make_net()

        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            return self.net(batch[0]).square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), 0.01)

    torch.manual_seed(2)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(60, 3)))
    callback = GradientClipping(Advisor())
    trainer(callbacks=[callback]).fit(Module(), data)
    (advisor,) = callback.clippers
    assert isinstance(advisor, Advisor)
    assert len(advisor.record.norms) == 60
    assert set(advisor.record.modules) == {"net.0", "net.2"}
    assert advisor.advise(torch.optim.AdamW(make_net().parameters())).trials
