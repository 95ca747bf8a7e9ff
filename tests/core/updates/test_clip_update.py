"""Update clipping: what a step did to the weights, against peers, formulas and hand-made loops."""

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
from torch import nn
from torch.optim import (
    SGD,
    AdamW,
    Optimizer,
)

from gradclip_core import Clipper, Clippy, ClipUpdate, Relative, StableUpdate
from tests.core.updates.updates import (
    CLIPPERS,
    MOMENTS,
    OPTIMIZERS,
    gradients,
    make_net,
    scales,
    values,
)

examples = settings(max_examples=40)


def by_hand(
    name: str, before: list[np.ndarray], after: list[np.ndarray], lr: float
) -> list[np.ndarray]:
    """The formulas of the docstrings, parameter by parameter, in NumPy."""
    moves = [b - a for a, b in zip(before, after, strict=True)]
    if name == "norm":
        norm = math.sqrt(sum((move**2).sum() for move in moves))
        factors = [min(1.0, 0.02 / norm)] * len(moves)
    elif name == "adafactor":
        factors = [min(1, 2e-3 / np.sqrt(((move / lr) ** 2).mean())) for move in moves]
    else:
        shares = [
            (0.05 * np.abs(a) + 0.001) / np.abs(m) for a, m in zip(before, moves, strict=True)
        ]
        factors = [min(1.0, share.min()) for share in shares]
    return [a + f * m for a, f, m in zip(before, factors, moves, strict=True)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["norm", "adafactor", "clippy"])
def test_each_step_is_the_optimizers_own_scaled_by_the_formula(name: str, optimizer: str) -> None:
    """One step at a time, from the same weights and optimizer state, for 40 steps."""
    net = make_net(torch.float64)
    free = copy.deepcopy(net)
    ours, theirs = (OPTIMIZERS[optimizer](n.parameters()) for n in (net, free))
    clipper = CLIPPERS[name]().attach(optimizer=ours)
    lr, clipped = float(ours.param_groups[0]["lr"]), 0
    for step in range(40):
        before = values(net)
        free.load_state_dict(net.state_dict())
        for n in (net, free):
            gradients(n, step, scales(step))
        clipper(net)
        ours.step()
        theirs.step()
        for new, expected in zip(values(net), by_hand(name, before, values(free), lr), strict=True):
            np.testing.assert_allclose(new, expected, rtol=1e-9, atol=1e-13)
        clipped += bool(clipper.last_report.clipped)
    assert clipped > 0


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_adamw_under_stable_update_is_stable_adamw(foreach: bool, decay: float) -> None:
    peer = pytest.importorskip("pytorch_optimizer", reason="pytorch_optimizer is not installed")
    net = make_net(torch.float64)
    twin = copy.deepcopy(net)
    setting: dict[str, Any] = {"betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": decay}
    ours = AdamW(net.parameters(), 0.01, foreach=foreach, **setting)
    theirs = peer.StableAdamW(twin.parameters(), 0.01, kahan_sum=False, **setting)
    clipper = StableUpdate().attach(optimizer=ours)
    for step in range(300):
        for n in (net, twin):
            gradients(n, step, scales(step))
        clipper(net)
        ours.step()
        theirs.step()
    for a, b in zip(values(net), values(twin), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)
    assert 0.02 < clipper.last_report.clip_rate < 0.98


@pytest.mark.parametrize("optimizer", MOMENTS)
def test_stable_update_divides_by_the_moment_the_optimizer_divides_by(optimizer: str) -> None:
    net = make_net(torch.float64)
    free = copy.deepcopy(net)
    ours, theirs = (OPTIMIZERS[optimizer](n.parameters()) for n in (net, free))
    clipper = StableUpdate().attach(optimizer=ours)
    for step in range(20):
        before = values(net)
        free.load_state_dict(net.state_dict())
        for n in (net, free):
            gradients(n, step, scales(step))
        clipper(net)
        ours.step()
        theirs.step()
        for param, old, own, new in zip(
            net.parameters(), before, values(free), values(net), strict=True
        ):
            state, group = ours.state[param], ours.param_groups[0]
            moment = state.get("exp_avg_sq", state.get("square_avg"))
            if "betas" in group:
                moment = moment / (1 - group["betas"][1] ** state["step"].item())
            rms = (param.grad**2 / moment.clamp(min=group["eps"] ** 2)).mean().sqrt().item()
            expected = old + (own - old) / max(1.0, rms)
            np.testing.assert_allclose(new, expected, rtol=1e-9, atol=1e-13)


@given(
    seed=st.integers(0, 1000),
    bound=st.floats(1e-4, 10.0),
    p=st.sampled_from([1.0, 2.0, math.inf]),
    by=st.sampled_from(["model", "parameter", "row", "module"]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
)
@examples
def test_no_part_moves_further_than_the_bound(
    seed: int, bound: float, p: float, by: Any, dtype: torch.dtype, scale: float
) -> None:
    net = make_net(dtype)
    before = [param.detach().double().clone() for param in net.parameters()]
    optimizer = SGD(net.parameters(), 0.1)
    clipper = ClipUpdate(bound, by=by, norm_type=p).attach(optimizer=optimizer)
    gradients(net, seed, scale)
    clipper(net)
    optimizer.step()
    moves = [q.detach().double() - b for q, b in zip(net.parameters(), before, strict=True)]
    report, eps = clipper.last_report, torch.finfo(dtype).eps
    assert bool((report.clipped_norms <= bound * (1 + 1e-5)).all())
    whole = torch.cat([move.flatten() for move in moves])
    weights = torch.cat([b.flatten() for b in before])
    rounding = eps * torch.linalg.vector_norm(weights.abs() + whole.abs(), p)
    measured = torch.linalg.vector_norm(whole, p)
    torch.testing.assert_close(
        report.clipped_norm, measured, rtol=1e-4, atol=float(rounding) + 1e-12
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_update_below_the_threshold_is_left_to_the_last_bit(
    optimizer: str, dtype: torch.dtype
) -> None:
    net = make_net(dtype)
    free = copy.deepcopy(net)
    ours, theirs = (OPTIMIZERS[optimizer](n.parameters()) for n in (net, free))
    clipper = ClipUpdate(1e6).attach(optimizer=ours)
    for step in range(5):
        for n in (net, free):
            gradients(n, step)
        clipper(net)
        ours.step()
        theirs.step()
    torch.testing.assert_close(net.state_dict(), free.state_dict(), rtol=0, atol=0)
    assert clipper.last_report.clipped.item() is False


def test_a_share_of_the_weights_is_of_the_weights_before_the_step() -> None:
    param = nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = SGD([param], 1.0)
    clipper = ClipUpdate(Relative(0.1), by="parameter").attach(optimizer=optimizer)
    param.grad = torch.tensor([-300.0, -400.0])
    clipper([param])
    optimizer.step()
    torch.testing.assert_close(param.detach(), torch.tensor([3.3, 4.4]))


def test_what_is_excluded_moves_freely() -> None:
    net = make_net()
    before = copy.deepcopy(net.state_dict())
    optimizer = SGD(net.parameters(), 1.0)
    clipper = ClipUpdate(1e-3, exclude=r"^2\.", min_ndim=2).attach(optimizer=optimizer)
    gradients(net, 0)
    clipper(net)
    optimizer.step()
    moved = {n: (p - before[n]).norm().item() for n, p in net.state_dict().items()}
    assert moved["0.weight"] == pytest.approx(1e-3, rel=1e-3)
    assert all(moved[name] > 0.5 for name in ("0.bias", "2.weight", "2.bias"))


def test_the_rate_of_each_group_counts_and_a_rate_of_zero_is_no_error() -> None:
    first, second = (nn.Parameter(torch.zeros(4)) for _ in range(2))
    optimizer = SGD([{"params": [first], "lr": 0.5}, {"params": [second], "lr": 0.0}], lr=1.0)
    clipper = ClipUpdate(1.0, by="parameter", measure="rms", per_lr=True)
    clipper.attach(optimizer=optimizer)
    first.grad, second.grad = torch.full((4,), 7.0), torch.full((4,), 7.0)
    clipper(optimizer)
    optimizer.step()
    assert clipper.last_report.norms.tolist() == pytest.approx([7.0, 0.0])
    assert first.tolist() == pytest.approx([-0.5] * 4)
    assert second.tolist() == [0.0] * 4


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
def test_stable_update_needs_a_second_moment(optimizer: str) -> None:
    made = OPTIMIZERS[optimizer](make_net().parameters())
    with pytest.raises(ValueError, match=r"^StableUpdate reads the second moment .* serves Adam, "):
        StableUpdate().attach(optimizer=made)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ClipUpdate(0.0), "max_norm must be a number > 0"),
        (lambda: ClipUpdate(1.0, response="skip"), "response must be one of hard, soft, tanh"),  # type: ignore[arg-type]
        (lambda: StableUpdate(0.0), "max_rms must be a finite number > 0, got 0.0"),
        (lambda: Clippy(-0.1), "relative must be a finite number >= 0, got -0.1"),
        (lambda: Clippy(0.1, 0.0), "absolute must be a finite number > 0, got 0.0"),
    ],
)
def test_arguments_are_checked(make: Callable[[], Clipper], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        make()


class Plain(Optimizer):
    """An optimizer of somebody else's, without a learning rate."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {})


def test_update_over_rate_needs_a_rate() -> None:
    optimizer = Plain(make_net().parameters())
    clipper = ClipUpdate(0.1, per_lr=True)
    with pytest.raises(ValueError, match=r"^ClipUpdate divides updates by .* needs an 'lr'$"):
        clipper.attach(optimizer=optimizer)
    clipper.attach(optimizer=SGD(make_net().parameters(), 0.1))  # nothing is left of the other
    ClipUpdate(0.1).attach(optimizer=optimizer)
