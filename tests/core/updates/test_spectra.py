"""SPECTRA beside its formula, by a decomposition in float64 of what a plain step does."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adafactor, Adam, AdamW, Muon, Optimizer
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

from gradclip_core import ClipUpdate, Scheduled, Spectra

LR, DECAY = 0.1, 0.3
OPTIMIZERS: dict[str, tuple[Callable[[Any], Optimizer], bool]] = {
    "adamw": (lambda p: AdamW(p, LR, weight_decay=DECAY), True),
    "adamw of a tensor rate": (
        lambda p: AdamW(p, torch.tensor(LR, dtype=torch.float64), weight_decay=DECAY),
        True,
    ),
    "adam": (lambda p: Adam(p, LR, weight_decay=DECAY), False),
    "adam decoupled": (
        lambda p: Adam(p, LR, weight_decay=DECAY, decoupled_weight_decay=True),
        True,
    ),
    "sgd": (lambda p: SGD(p, LR, momentum=0.9, weight_decay=DECAY), False),
    "adafactor": (lambda p: Adafactor(p, LR, weight_decay=DECAY), True),
}


class Net(nn.Module):
    """A tall, a wide and a square matrix, a kernel and vectors."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tall = nn.Linear(3, 7)
        self.wide = nn.Linear(7, 4)
        self.square = nn.Linear(4, 4)
        self.kernel = nn.Conv1d(2, 3, 2)
        self.head = nn.Linear(4, 2)


def gradients(net: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for param in net.parameters():
        grad = torch.randn(param.shape, generator=generator, dtype=torch.float64)
        param.grad = grad.to(param.dtype)


def softened(update: Tensor, bound: float) -> Tensor:
    """a H_c(U)."""
    matrix = update.reshape(len(update), -1)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    rows, columns = matrix.shape
    tall = max(1.0, rows / columns) ** 0.5
    kept = values / (1 + (values / bound) ** 2) ** 0.5
    return tall * ((left * kept) @ right).reshape(update.shape)


def expected(old: Tensor, plain: Tensor, bound: float, rate: float, decay: float) -> Tensor:
    update = (old - plain) / rate - decay * old
    return (1 - rate * decay) * old - rate * softened(update, bound)


def one_step(net: nn.Module, optimizer: Optimizer, step: int, clipper: Any = None) -> nn.Module:
    gradients(net, step)
    if clipper is not None:
        clipper(net)
    optimizer.step()
    return net


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_is_that_of_the_paper(name: str) -> None:
    make, decoupled = OPTIMIZERS[name]
    net = Net().double()
    optimizer = make(net.parameters())
    clipper = Spectra(0.7, exclude=r"^head").attach(model=net, optimizer=optimizer)
    for step in range(3):
        twin = copy.deepcopy(net)
        plain = make(twin.parameters())
        plain.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        one_step(twin, plain, step)
        before = copy.deepcopy(net)
        one_step(net, optimizer, step, clipper)
        for (key, param), old, moved in zip(
            net.named_parameters(), before.parameters(), twin.parameters(), strict=True
        ):
            wanted = moved
            if param.ndim > 1 and not key.startswith("head"):
                wanted = expected(old, moved, 0.7, LR, DECAY if decoupled else 0.0)
            torch.testing.assert_close(param, wanted, rtol=1e-9, atol=1e-10)


def test_the_weight_decay_of_muon_is_apart() -> None:
    weight = nn.Parameter(torch.eye(4, dtype=torch.float64))
    optimizer = Muon([weight], LR, weight_decay=DECAY)
    clipper = Spectra(1e-9).attach(optimizer=optimizer)
    weight.grad = torch.ones_like(weight)
    clipper([weight])
    optimizer.step()
    wanted = (1 - LR * DECAY) * torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(weight.detach(), wanted, rtol=0, atol=1e-8)


def test_a_report_tells_of_the_update_over_its_rate() -> None:
    net = Net()
    optimizer = SGD(net.parameters(), LR)
    clipper = Spectra(0.5).attach(model=net, optimizer=optimizer)
    gradients(net, 0)
    report = clipper(net)
    # Of gradients only their 2-norms are taken, for the guard.
    assert report.parameter_norms.max().item() == pytest.approx(
        max(param.grad.norm().item() for param in net.parameters() if param.ndim > 1)  # type: ignore[union-attr]
    )
    optimizer.step()
    report = clipper.last_report
    assert report is not None
    matrices = [param.grad.flatten(1) for param in net.parameters() if param.ndim > 1]  # type: ignore[union-attr]
    tops = [torch.linalg.matrix_norm(matrix, 2).item() for matrix in matrices]
    # Weights of float32 hold a few digits of what a step changed.
    assert report.norms.tolist() == pytest.approx(tops, rel=1e-4)
    assert report.thresholds.tolist() == [0.5] * len(matrices)
    assert report.clipped
    assert report.path == "update"


def held(schedule: Callable[[Optimizer], Any], warmup_steps: int, steps: int) -> list[float]:
    """The thresholds of some steps under a schedule of the learning rate."""
    weight = nn.Parameter(torch.zeros(3, 3))
    optimizer = SGD([weight], 1.0)
    scheduler = schedule(optimizer)
    clipper = Spectra(2.0, warmup_steps=warmup_steps).attach(optimizer=optimizer)
    thresholds = []
    for _ in range(steps):
        weight.grad = torch.eye(3)
        clipper([weight])
        optimizer.step()
        scheduler.step()
        assert clipper.last_report is not None
        thresholds.append(clipper.last_report.threshold.item())
    return thresholds


def test_the_bound_is_held_against_a_rate_that_warms_up() -> None:
    factors = [0.25, 0.5, 1.0, 0.5]
    made = held(lambda o: LambdaLR(o, lambda step: factors[min(step, 3)]), 3, 4)
    assert made == pytest.approx([2.0 / 0.25, 2.0 / 0.5, 2.0, 2.0])
    assert held(lambda o: LambdaLR(o, lambda step: factors[min(step, 3)]), 0, 4) == [2.0] * 4


def test_the_full_rate_of_one_cycle_is_its_largest() -> None:
    made = held(lambda o: OneCycleLR(o, 1.0, total_steps=10, div_factor=10.0), 1, 2)
    assert made == pytest.approx([20.0, 2.0])


def test_a_rate_of_zero_moves_nothing() -> None:
    weight = nn.Parameter(torch.eye(3))
    optimizer = AdamW([weight], 0.0)
    clipper = Spectra(Scheduled(1.0, decay_steps=3, end=0.5), warmup_steps=2)
    clipper.attach(optimizer=optimizer)
    for _ in range(3):
        weight.grad = torch.ones(3, 3)
        clipper([weight])
        optimizer.step()
    assert torch.equal(weight.detach(), torch.eye(3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_of_half_precision(dtype: torch.dtype) -> None:
    weight = nn.Parameter(torch.zeros(4, 4, dtype=dtype))
    optimizer = SGD([weight], LR)
    clipper = Spectra(1.0).attach(optimizer=optimizer)
    weight.grad = (100 * torch.eye(4)).to(dtype)
    clipper([weight])
    optimizer.step()
    exact = -LR * 100 / (1 + 100**2) ** 0.5
    torch.testing.assert_close(
        weight.detach().float(), exact * torch.eye(4), rtol=torch.finfo(dtype).eps, atol=0
    )


@pytest.mark.parametrize("per_lr", [True, False])
@pytest.mark.parametrize("response", ["clamp", "soft_clamp", "hard"])
def test_any_update_may_be_measured_by_its_singular_values(response: Any, per_lr: bool) -> None:
    weight = nn.Parameter(torch.zeros(3, 3, dtype=torch.float64))
    optimizer = SGD([weight], LR)
    bound = 2.0 if per_lr else 2.0 * LR
    clipper = ClipUpdate(
        bound, by="parameter", measure="spectral", response=response, per_lr=per_lr
    )
    clipper.attach(optimizer=optimizer)
    weight.grad = torch.diag(torch.tensor([4.0, 1.0, 0.5], dtype=torch.float64))
    clipper([weight])
    optimizer.step()
    wanted = {
        "clamp": [2.0, 1.0, 0.5],
        "hard": [2.0, 0.5, 0.25],
        "soft_clamp": [s / (1 + (s / 2) ** 2) ** 0.5 for s in (4.0, 1.0, 0.5)],
    }[response]
    assert (-weight.detach().diagonal() / LR).tolist() == pytest.approx(wanted)


def test_weights_of_wrong_kind_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^warmup_steps must be an integer >= 0, got -1$"):
        Spectra(warmup_steps=-1)
    with pytest.raises(ValueError, match=r"^max_norm must be a number > 0"):
        Spectra(0.0)
