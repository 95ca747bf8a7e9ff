"""Update clipping: what a step did to the weights, against peers, formulas and hand-made loops."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import (
    LBFGS,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    NAdam,
    Optimizer,
    RAdam,
    RMSprop,
)

from gradclip_core import (
    Clipper,
    Clippy,
    ClipUpdate,
    NonFiniteGradientError,
    Percentile,
    Relative,
    StableUpdate,
)

examples = settings(max_examples=40, deadline=None, derandomize=True)
CLIPPERS: dict[str, Callable[..., Clipper]] = {
    "norm": lambda **kw: ClipUpdate(0.02, **kw),
    "autoclip": lambda **kw: ClipUpdate(Percentile(50.0), by="parameter", **kw),
    "adafactor": lambda **kw: ClipUpdate(2e-3, by="parameter", measure="rms", per_lr=True, **kw),
    "stable": lambda **kw: StableUpdate(**kw),
    "clippy": lambda **kw: Clippy(0.05, 0.001, **kw),
}
OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "sgd": lambda p: SGD(p, 0.05, momentum=0.9, weight_decay=0.1),
    "sgd fused": lambda p: SGD(p, 0.05, momentum=0.9, fused=True),
    "adam": lambda p: Adam(p, 0.05),
    "adamw foreach": lambda p: AdamW(p, 0.05, weight_decay=0.3, foreach=True),
    "adamw fused": lambda p: AdamW(p, 0.05, weight_decay=0.3, fused=True),
    "adamw capturable": lambda p: AdamW(p, torch.tensor(0.05), foreach=False),
    "nadam": lambda p: NAdam(p, 0.05),
    "radam": lambda p: RAdam(p, 0.05),
    "rmsprop": lambda p: RMSprop(p, 0.05, momentum=0.5),
    "adagrad": lambda p: Adagrad(p, 0.05),
    "adadelta": lambda p: Adadelta(p, 0.5),
}
MOMENTS = [name for name in OPTIMIZERS if not name.startswith(("sgd", "adagrad"))]


def make_net(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).to(dtype)


def gradients(net: nn.Module, step: int, scale: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(step)
    for param in net.parameters():
        grad = torch.randn(param.shape, generator=generator) * scale
        param.grad = grad.to(param.dtype)


def values(net: nn.Module) -> list[np.ndarray]:
    return [param.detach().double().numpy().copy() for param in net.parameters()]


def scales(step: int) -> float:
    """The size of the gradient of a step: a spike now and then."""
    return 300.0 if step % 17 == 16 else 1.0


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


def test_a_closure_that_clips_inside_the_step() -> None:
    def run(with_closure: bool) -> dict[str, Tensor]:
        net = make_net()
        optimizer = SGD(net.parameters(), 1.0)
        clipper = ClipUpdate(0.1).attach(optimizer=optimizer)
        for step in range(3):

            def closure(step: int = step) -> float:
                gradients(net, step)
                clipper(net)
                return 0.0

            if not with_closure:
                closure()
            optimizer.step(closure if with_closure else None)
        return net.state_dict()

    torch.testing.assert_close(run(True), run(False), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["adamw fused", "adamw foreach", "sgd"])
def test_under_a_grad_scaler_the_skipped_step_moves_nothing_and_counts_once(name: str) -> None:
    net = make_net()
    optimizer = OPTIMIZERS[name](net.parameters())
    clipper = ClipUpdate(0.02).attach(optimizer=optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    clipped = []
    for step, broken in enumerate([True, False, True, False]):
        before = copy.deepcopy(net.state_dict())
        optimizer.zero_grad()
        x = torch.full((2, 3), math.inf if broken else step + 1.0)
        scaler.scale(net(x).square().sum()).backward()
        scaler.unscale_(optimizer)
        clipper(net)
        scaler.step(optimizer)
        scaler.update()
        moves = [(p - before[n]).flatten() for n, p in net.state_dict().items()]
        distance = torch.cat(moves).norm().item()
        assert distance == pytest.approx(0.0 if broken else 0.02, rel=1e-4)
        clipped.append(bool(clipper.last_report.clipped))
    assert clipped == [False, True, False, True]
    assert clipper.steps.item() == 4


@pytest.mark.parametrize("name", CLIPPERS)
def test_training_resumes_bit_for_bit(name: str) -> None:
    def start() -> tuple[nn.Module, Optimizer, Clipper]:
        net = make_net()
        optimizer = AdamW(net.parameters(), 0.05)
        return net, optimizer, CLIPPERS[name]().attach(optimizer=optimizer)

    def go(parts: tuple[nn.Module, Optimizer, Clipper], steps: range) -> None:
        net, optimizer, clipper = parts
        for step in steps:
            gradients(net, step, scales(step))
            clipper(net)
            optimizer.step()

    whole, first, second = start(), start(), start()
    go(whole, range(60))
    go(first, range(30))
    for old, new in zip(first, second, strict=True):
        new.load_state_dict(copy.deepcopy(old.state_dict()))
    go(second, range(30, 60))
    for a, b in zip(whole, second, strict=True):
        torch.testing.assert_close(a.state_dict(), b.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("name", CLIPPERS)
@pytest.mark.parametrize("policy", ["skip", "zero", "pass", "raise"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, 1e30])
def test_no_gradient_poisons_or_freezes(name: str, policy: Any, bad: float) -> None:
    net = make_net()
    optimizer = AdamW(net.parameters(), 0.01)
    clipper = CLIPPERS[name](nonfinite=policy).attach(optimizer=optimizer)
    for step in range(12):
        gradients(net, step, bad if step in (0, 3, 4) else 1.0)
        if policy == "raise" and bad != 0.0 and step in (0, 3, 4):
            with pytest.raises(NonFiniteGradientError, match=r"non-finite gradient in 0\.weight"):
                clipper(net)
            continue
        clipper(net)
        if policy == "pass" and bad != 0.0:
            return  # passed on as it is, as the user asked
        optimizer.step()
    before = copy.deepcopy(net.state_dict())
    gradients(net, 99)
    clipper(net)
    optimizer.step()
    for key, value in net.state_dict().items():
        assert value.isfinite().all()
        assert (value != before[key]).all(), "every weight still moves"


def test_an_update_that_overflows_moves_nothing() -> None:
    param = nn.Parameter(torch.ones(2))
    optimizer = SGD([param], 1e30)
    clipper = ClipUpdate(1.0).attach(optimizer=optimizer)
    param.grad = torch.tensor([1e20, 1.0])
    clipper([param])
    optimizer.step()
    assert param.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", CLIPPERS)
def test_copies_and_pickles_leave_the_optimizer_behind(name: str) -> None:
    net = make_net()
    optimizer = AdamW(net.parameters(), 0.05)
    clipper = CLIPPERS[name]().attach(optimizer=optimizer)
    gradients(net, 0)
    clipper(net)
    optimizer.step()
    for copied in (copy.deepcopy(clipper), pickle.loads(pickle.dumps(clipper))):
        torch.testing.assert_close(copied.state_dict(), clipper.state_dict(), rtol=0, atol=0)
        with pytest.raises(ValueError, match=r"call clipper.attach\(optimizer=optimizer\) first"):
            copied(net)
    assert clipper.steps.item() == 1


def test_detached_it_leaves_steps_alone() -> None:
    net = make_net()
    optimizer = SGD(net.parameters(), 1.0)
    clipper = ClipUpdate(1e-9).attach(optimizer=optimizer)
    clipper.detach()
    before = copy.deepcopy(net.state_dict())
    gradients(net, 0)
    optimizer.step()
    assert all((p - before[n]).norm() > 0.1 for n, p in net.state_dict().items())


@pytest.mark.parametrize("name", CLIPPERS)
def test_lbfgs_and_no_optimizer_are_refused(name: str) -> None:
    net = make_net()
    for optimizer in (None, LBFGS(net.parameters())):
        with pytest.raises(ValueError, match=f"got {'none' if optimizer is None else 'LBFGS'}$"):
            CLIPPERS[name]().attach(optimizer=optimizer)


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
