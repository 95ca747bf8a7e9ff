"""Clipping by samples: a plain loop over samples and Optax as oracles, in loops and Lightning."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gradclip_core import (
    ClipPerSample,
    SampleError,
)

FACTORS: dict[str, Callable[[float, float], float]] = {
    "flat": lambda norm, bound: min(1.0, bound / norm) if norm else 1.0,
    "automatic": lambda norm, bound: bound / (norm + 0.01),
    "drop": lambda norm, bound: float(norm <= bound),
}


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.GRU(3, 4, batch_first=True)
        self.last = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.memory(x)[0])
        return out.mean(1)


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(4, 6, 2), nn.GroupNorm(2, 6), nn.ReLU())
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.last = nn.Linear(6, 1)
        self.tied = self.last.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.body(x).mean(-1) * self.scale)
        return out


NETS: dict[str, Callable[[], nn.Module]] = {
    "dense": lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 1)),
    "convolutional": Convolutional,
    "recurrent": Recurrent,
}


def make_net(kind: str = "dense", seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return NETS[kind]().double()


def make_batch(size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs (B, 4, 3) and targets (B, 1) of very different size."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 4, 3, generator=generator, dtype=torch.float64)
    return x, 10 ** torch.randn(size, 1, generator=generator, dtype=torch.float64)


def loss_with(net: nn.Module) -> Callable[[Any], Tensor]:
    return lambda batch: nn.functional.mse_loss(net(batch[0]), batch[1])


def by_hand(
    net: nn.Module, batch: Any, factor: Any, bounds: list[float]
) -> tuple[list[Tensor], list[float]]:
    """The mean of the clipped gradients, and the norms, in a loop over samples."""
    size, norms = len(batch[0]), []
    sums = [torch.zeros_like(param) for param in net.parameters()]
    for i in range(size):
        loss = loss_with(net)((batch[0][i : i + 1], batch[1][i : i + 1]))
        grads = torch.autograd.grad(loss, list(net.parameters()))
        norms.append(math.sqrt(sum(float(grad.square().sum()) for grad in grads)))
        sums = [s + factor(norms[-1], bounds[i]) * g for s, g in zip(sums, grads, strict=True)]
    return [s / size for s in sums], norms


@given(
    kind=st.sampled_from(sorted(NETS)),
    response=st.sampled_from(sorted(FACTORS)),
    method=st.sampled_from(["auto", "loop"]),
    bound=st.floats(1e-2, 1e2),
    index=st.sampled_from([None, 1.3, 2.0]),
    size=st.integers(1, 7),
    chunk=st.sampled_from([None, 1, 3]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40)
def test_it_equals_a_loop_over_samples(
    kind: str,
    response: Any,
    method: Any,
    bound: float,
    index: float | None,
    size: int,
    chunk: Any,
    seed: int,
) -> None:
    net, batch = make_net(kind, seed), make_batch(size, seed)
    clipper = ClipPerSample(
        bound, response=response, method=method, chunk_size=chunk, tail_index=index
    )
    clipper.attach(model=net)
    growth = [1.0 if index is None else (k + 1) ** (1 / index) for k in range(size)]
    bounds = [bound * each for each in growth]
    expected, norms = by_hand(net, batch, FACTORS[response], bounds)
    loss = clipper.backward(loss_with(net), batch)
    for param, value in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(param.grad, value, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(loss, loss_with(net)(batch).detach())
    report = clipper(net)
    assert report.norms.tolist() == pytest.approx(norms)
    assert report.clipped_share.item() == pytest.approx(np.mean(np.array(norms) > bounds))
    assert report.norm.item() == pytest.approx(math.sqrt(np.mean(np.square(norms))))
    factors = list(map(FACTORS[response], norms, bounds))
    after = math.sqrt(np.mean(np.square(np.multiply(norms, factors))))
    assert report.clipped_norm.item() == pytest.approx(after)
    assert report.coefficient.item() == pytest.approx(min(factors))
    assert report.thresholds.tolist() == pytest.approx(bounds)


def test_flat_clipping_equals_optax() -> None:
    optax = pytest.importorskip("optax", reason="optax is not installed")
    net, batch = make_net(), make_batch(6)
    clipper = ClipPerSample(0.7).attach(model=net)
    clipper.backward(loss_with(net), batch)
    columns: list[list[np.ndarray]] = [[] for _ in net.parameters()]
    for i in range(6):
        loss = loss_with(net)((batch[0][i : i + 1], batch[1][i : i + 1]))
        for column, grad in zip(
            columns, torch.autograd.grad(loss, list(net.parameters())), strict=True
        ):
            column.append(grad.numpy())
    stacked = [np.stack(column) for column in columns]
    sums, clipped = optax.per_example_global_norm_clip(stacked, 0.7)
    for param, value in zip(net.parameters(), sums, strict=True):
        np.testing.assert_allclose(param.grad.numpy(), np.asarray(value) / 6, rtol=1e-5, atol=1e-6)
    assert clipper(net).over.sum().item() == int(clipped)


@pytest.mark.parametrize("kind", NETS)
def test_without_a_binding_bound_it_is_the_ordinary_gradient(kind: str) -> None:
    net, batch = make_net(kind), make_batch(5)
    expected = torch.autograd.grad(loss_with(net)(batch), list(net.parameters()))
    ClipPerSample(1e9).attach(model=net).backward(loss_with(net), batch)
    for param, value in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(param.grad, value)


def test_gradients_add_up_over_micro_batches() -> None:
    net, batch = make_net(), make_batch(6)
    whole, parts = ClipPerSample(0.5).attach(model=net), ClipPerSample(0.5).attach(model=net)
    whole.backward(loss_with(net), batch)
    expected = [param.grad.clone() for param in net.parameters()]
    report = whole(net)
    net.zero_grad()
    for i in (0, 3):
        parts.backward(loss_with(net), [t[i : i + 3] for t in batch], weight=0.5)
    for param, value in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(param.grad, value)
    joint = parts(net)
    torch.testing.assert_close(joint.norms, report.norms)
    assert (joint.norm.item(), parts.steps.item()) == (pytest.approx(report.norm.item()), 1)


@pytest.mark.parametrize("method", ["vmap", "loop"])
def test_dropout_draws_for_every_sample(method: Any) -> None:
    net = nn.Sequential(nn.Dropout(0.5), nn.Linear(40, 1, bias=False))
    x = torch.ones(2000, 40) if method == "vmap" else torch.ones(200, 40)
    clipper = ClipPerSample(1e9, method=method).attach(model=net)
    torch.manual_seed(0)
    clipper.backward(lambda batch: net(batch).mean(), x)
    grad = net[1].weight.grad
    assert grad.mean().item() == pytest.approx(1.0, abs=0.05)
    assert clipper(net).norms.unique().numel() > 5, "masks differ between samples"


class Pair(NamedTuple):
    x: Tensor
    extra: dict[str, list[Tensor]]


def test_batches_may_be_nested() -> None:
    net, (x, y) = make_net(), make_batch(4)
    other, (expected, _) = make_net(), by_hand(make_net(), (x, y), FACTORS["flat"], [0.5] * 4)
    clipper = ClipPerSample(0.5).attach(model=net)
    clipper.backward(lambda b: (net(b.x) - b.extra["y"][0]).square().mean(), Pair(x, {"y": [y]}))
    assert other is not net
    for param, value in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(param.grad, value)


@pytest.mark.parametrize(
    "batch",
    [
        (torch.ones(3, 2), torch.ones(4)),
        (torch.ones(3, 2), 5),
        (torch.ones(3, 2), torch.tensor(1.0)),
        ["text"],
        [],
        torch.ones(0, 2),
    ],
)
def test_a_batch_that_is_no_set_of_samples_is_refused(batch: Any) -> None:
    net = nn.Linear(2, 1)
    clipper = ClipPerSample(1.0).attach(model=net)
    with pytest.raises(SampleError, match=r"^a batch is taken apart along the first dimension"):
        clipper.backward(lambda b: net(b).mean(), batch)


@pytest.mark.parametrize("sparse", [True, False])
def test_embeddings_are_clipped(sparse: bool) -> None:
    net = nn.Embedding(5, 2, sparse=sparse)
    clipper = ClipPerSample(1.0).attach(model=net)
    tokens, scale = torch.tensor([[1, 1], [3, 0]]), torch.tensor([[3.0], [0.1]])
    clipper.backward(lambda b: (net(b[0]).sum(1) * b[1]).sum(1).mean(), (tokens, scale))
    grad = net.weight.grad
    assert grad.is_sparse == sparse
    rows = (grad.to_dense() if sparse else grad)[:, 0].tolist()
    assert rows == pytest.approx([0.05, 0.5 / math.sqrt(2), 0.0, 0.05, 0.0])
    assert clipper(net).over.tolist() == [True, False]
