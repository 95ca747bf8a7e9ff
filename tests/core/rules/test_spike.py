"""Skipping on spikes of loss and norm: the rule of OLMo-core, safe and resumable."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gradclip_core import ClipReport, NonFiniteGradientError, SkipOnSpike, WindowZScore
from tests.core.copies import COPIES, copied
from tests.core.parts.processes import run_processes
from tests.core.thresholds.sequences import heavy_tailed

Holding = Callable[..., list[nn.Parameter]]
Step = tuple[float, float]


def both(**settings: Any) -> SkipOnSpike:
    return SkipOnSpike(WindowZScore(6.0), WindowZScore(6.0), **settings)


def call(clipper: SkipOnSpike, holding: Holding, loss: float, norm: float) -> ClipReport:
    return clipper(holding(torch.tensor([norm], dtype=torch.float64)), loss=torch.tensor(loss))


def is_spike(value: float, past: list[float], z: float, window: int, least: int) -> bool:
    """OLMo-core's rule on its upper side, with the floor under the deviation."""
    seen = np.array(past[-window:])
    if not np.isfinite(value):
        return True
    if len(seen) < least:
        return False
    sd = max(seen.std(ddof=1), abs(seen.mean()) / 1000)
    return bool(value > seen.mean() + z * sd)


@given(
    seed=st.integers(0, 10_000),
    window=st.integers(5, 40),
    z=st.floats(1.5, 6.0),
    offset=st.sampled_from([0.0, -3.0, -1e4]),
)
@settings(max_examples=3)
def test_the_rule_equals_numpy_over_300_steps(
    holding: Holding, seed: int, window: int, z: float, offset: float
) -> None:
    least = max(2, window // 2)
    series = heavy_tailed(seed, steps=300, parts=2)
    losses, norms = (series[:, 0] + offset).tolist(), series[:, 1].tolist()
    losses[100], losses[200] = math.nan, math.inf
    parts = WindowZScore(z, window, least), WindowZScore(z, window, least)
    clipper = SkipOnSpike(*parts, max_skips=None)
    past: tuple[list[float], list[float]] = ([], [])
    for loss, norm in zip(losses, norms, strict=True):
        loss = float(np.float32(loss))
        expected = is_spike(loss, past[0], z, window, least)
        expected |= is_spike(norm, past[1], z, window, least)
        assert call(clipper, holding, loss, norm).skipped.item() is expected
        past[0].extend([loss] if np.isfinite(loss) else [])
        past[1].append(norm)


def steady(holding: Holding, clipper: SkipOnSpike, steps: int, start: int = 0) -> None:
    for i in range(start, start + steps):
        assert not call(clipper, holding, 2.0 + 0.1 * math.sin(i), 1.0 + 0.1 * math.cos(i)).skipped


@pytest.mark.parametrize(
    ("loss", "norm", "skipped", "clipped"),
    [
        (2.0, 1.0, False, False),
        (9.0, 1.0, True, False),
        (2.0, 9.0, True, True),
        (9.0, 9.0, True, True),
        (math.nan, 1.0, True, False),
        (-9.0, 1e-9, False, False),
    ],
)
def test_after_64_steps_spikes_of_either_are_skipped(
    holding: Holding, loss: float, norm: float, skipped: bool, clipped: bool
) -> None:
    clipper = both()
    steady(holding, clipper, 63)
    assert call(clipper, holding, 2.5, 1.5).skipped.item() is False, "63 values are too few"
    steady(holding, clipper, 60, start=64)
    (param,) = holding(torch.tensor([norm]))
    report = clipper(param, loss=torch.tensor(loss))
    assert (report.skipped.item(), report.clipped.item()) == (skipped, clipped)
    assert (param.grad is None) == skipped
    assert report.coefficient.item() == (0.0 if skipped else 1.0)


def test_the_loss_alone_can_be_watched_and_a_number_is_a_threshold(holding: Holding) -> None:
    clipper = SkipOnSpike(5.0)
    assert call(clipper, holding, 4.0, 1e30).skipped.item() is False
    assert call(clipper, holding, 6.0, 1e-3).skipped.item() is True


def test_max_skips_lets_a_lasting_level_through_clipped(holding: Holding) -> None:
    clipper = SkipOnSpike(5.0, 2.0, max_skips=3)
    skipped = [call(clipper, holding, 9.0, 1.0).skipped.item() for _ in range(5)]
    assert skipped == [True, True, True, False, False]
    call(clipper, holding, 1.0, 1.0)
    assert call(clipper, holding, 9.0, 1.0).skipped.item() is True
    for _ in range(2):
        call(clipper, holding, 9.0, 1.0)
    report = call(clipper, holding, 9.0, 8.0)
    assert (report.skipped.item(), report.clipped_norm.item()) == (False, pytest.approx(2.0))


@pytest.mark.parametrize("level", [0.0, 5.0, -5.0])
def test_a_constant_loss_is_no_spike(holding: Holding, level: float) -> None:
    clipper = SkipOnSpike(WindowZScore(6.0, 20, 10))
    assert not any(call(clipper, holding, level, 1.0).skipped.item() for _ in range(300))
    above = call(clipper, holding, level + max(abs(level), 1.0), 1.0)
    assert above.skipped.item() is True


@pytest.mark.parametrize("policy", ["skip", "zero", "pass", "raise"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, 1e30])
def test_no_gradient_poisons_or_freezes_it(holding: Holding, policy: Any, bad: float) -> None:
    clipper = both(nonfinite=policy)
    for i in range(300):
        norm = bad if i % 50 == 7 else 1.0 + 0.1 * math.cos(i)
        try:
            call(clipper, holding, 2.0 + 0.1 * math.sin(i), norm)
        except NonFiniteGradientError:
            assert policy == "raise"
    assert clipper.threshold.history.isfinite().all()
    assert clipper.loss.history.isfinite().all()
    assert call(clipper, holding, 2.0, 1.0).skipped.item() is False


def test_skipping_leaves_weights_and_optimizer_untouched() -> None:
    torch.manual_seed(0)
    net = nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(net.parameters(), 0.1, weight_decay=0.1)
    clipper = SkipOnSpike(1e3)
    for scale in (1.0, 1.0, 1e6):
        kept = copy.deepcopy((net.state_dict(), optimizer.state_dict()))
        optimizer.zero_grad()
        loss = scale * net(torch.ones(1, 2)).square().sum() + scale
        loss.backward()
        clipper(net, loss=loss)
        optimizer.step()
    torch.testing.assert_close((net.state_dict(), optimizer.state_dict()), kept, rtol=0, atol=0)


def test_a_missing_loss_is_one_clear_error(holding: Holding) -> None:
    with pytest.raises(ValueError) as caught:
        both()(holding(torch.ones(1)))
    assert str(caught.value) == "SkipOnSpike watches the loss: call clipper(model, loss=loss)"
    both()(nn.Linear(1, 1))  # no gradient, no step, no loss


def test_the_loss_is_one_number(holding: Holding) -> None:
    clipper = SkipOnSpike(5.0)
    for loss in (torch.tensor(9.0, requires_grad=True), torch.tensor([9.0]), 9.0):
        assert clipper(holding(torch.ones(1)), loss=loss).skipped.item() is True
    with pytest.raises(ValueError, match=r"^loss must be one number, got a tensor of shape \(2,\)"):
        clipper(holding(torch.ones(1)), loss=torch.ones(2))


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_goes_on_bit_for_bit(holding: Holding, kind: str) -> None:
    def make() -> SkipOnSpike:
        return SkipOnSpike(WindowZScore(2.0, 30, 10), WindowZScore(2.0, 30, 10), max_skips=2)

    series = heavy_tailed(3, steps=300, parts=2).tolist()
    whole, clipper = make(), make()
    expected = [call(whole, holding, *row).skipped.item() for row in series]
    for row in series[:150]:
        call(clipper, holding, *row)
    other: Any = copied(kind, clipper, make)
    assert [call(other, holding, *row).skipped.item() for row in series[150:]] == expected[150:]
    assert any(expected)
    torch.testing.assert_close(other.state_dict(), whole.state_dict(), rtol=0, atol=0)


def test_a_sparse_gradient_is_dropped_with_its_step() -> None:
    embedding = nn.Embedding(3, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    assert SkipOnSpike(1.0)(embedding, loss=torch.tensor(2.0)).skipped.item() is True
    assert embedding.weight.grad is None


@pytest.mark.parametrize("bad", [0.0, -1, True, "x", None])
@pytest.mark.parametrize("name", ["loss", "norm"])
def test_thresholds_are_checked(name: str, bad: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be a number > 0 or a Threshold.*, got"):
        SkipOnSpike(**{"loss": 1.0, name: bad})


def decide() -> list[bool]:
    """Two ranks with losses of their own, one of which alone would be a spike."""
    loss = torch.tensor([1.0, 9.0][torch.distributed.get_rank()])
    param = nn.Parameter(torch.zeros(1))
    param.grad = torch.ones(1)
    return [SkipOnSpike(bound)(param, loss=loss).skipped.item() for bound in (6.0, 4.0)]


@pytest.mark.slow
def test_all_ranks_decide_alike(tmp_path: Path) -> None:
    assert run_processes(2, tmp_path, decide) == [[False, True]] * 2
