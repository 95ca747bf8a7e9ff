"""What goes wrong in the adaptive clipping of others, and does not here."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gradclip_core import (
    ClipNorm,
    Ema,
    LogZScore,
    Median,
    Percentile,
    QuantileTracker,
    SkipOnSpike,
    Threshold,
    TrailingNorm,
    WindowZScore,
    ZScore,
)
from tests.core.test_peer_defects import Holding, vector

LEARNT: dict[str, Callable[[], Threshold]] = {
    "autoclip": lambda: Percentile(50),
    "zclip": lambda: ZScore(cap=None),
    "median": Median,
    "ema": Ema,
    "log z": LogZScore,
    "window": lambda: WindowZScore(6.0, 40, 20),
    "tracker": lambda: QuantileTracker(0.5),
    "adagc": lambda: TrailingNorm(warmup_steps=20),
}


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0])
@pytest.mark.parametrize("name", LEARNT)
def test_one_bad_norm_poisons_the_statistics_of_peers(
    holding: Holding, name: str, bad: float
) -> None:
    """AutoClip: a NaN percentile. ZClip: NaN mean, never clips again. OLMo-core: skips a window.

    AdaGC: a zero in the warm-up freezes the parameter. icefall: raises on a NaN median.
    """
    random = np.random.default_rng(0)
    ours, never = ClipNorm(LEARNT[name](), nonfinite="pass"), ClipNorm(LEARNT[name]())
    for step in range(160):
        if step in (0, 5, 100):
            ours(holding(vector(bad)))
        norm = float(random.lognormal(0.0, 0.2))
        reports = [clipper(holding(vector(norm))) for clipper in (ours, never)]
        assert reports[0].threshold.item() == pytest.approx(reports[1].threshold.item(), rel=1e-6)
    (param,) = holding(vector(1e6))
    ours(param)
    assert 0.5 < param.grad.item() < 10, "it still clips, and lets something through"


def test_adagc_of_a_peer_took_the_squared_norm(holding: Holding) -> None:
    """pytorch_optimizer before 4.1.0: a norm of 4 in the warm-up was divided by 16."""
    (param,) = holding(vector(4.0))
    ClipNorm(TrailingNorm(absolute=1.0), by="parameter", eps=0)(param)
    assert param.grad.item() == pytest.approx(1.0)


def test_constant_norms_make_spikes_of_rounding_errors_in_zclip(holding: Holding) -> None:
    clipper = ClipNorm(ZScore(cap=None))
    rates = [clipper(holding(vector(1.0 + 1e-6 * (i % 3)))).clip_rate.item() for i in range(200)]
    assert rates[-1] == 0


def test_a_new_level_is_clipped_for_ever_in_zclip(holding: Holding) -> None:
    clipper = ClipNorm(ZScore(cap=None))
    for i in range(400):
        level = 1.0 if i < 100 else 50.0
        report = clipper(holding(vector(level * (1 + 0.1 * math.sin(i)))))
    assert report.clipped.item() is False


def test_autoclip_of_a_peer_clips_tensors_by_the_norm_of_the_whole(holding: Holding) -> None:
    """The TensorFlow port."""
    clipper = ClipNorm(Percentile(0), eps=0)
    clipper(holding(vector(3.0), vector(4.0)))
    first, second = holding(vector(6.0), vector(8.0))
    clipper([first, second])
    assert [first.grad.item(), second.grad.item()] == pytest.approx([3.0, 4.0])


def test_history_grows_without_end_in_autoclip(holding: Holding) -> None:
    clipper = ClipNorm(Percentile(10, window=20))
    for i in range(100):
        clipper(holding(vector(1.0 + i)))
    assert sum(buffer.numel() for buffer in clipper.buffers()) < 40


@pytest.mark.parametrize("make", [*LEARNT.values(), lambda: None])
def test_the_state_is_in_no_checkpoint_of_zclip_and_olmo_core(holding: Holding, make: Any) -> None:
    def clipper() -> Any:
        threshold = make()
        return SkipOnSpike(WindowZScore(3.0, 30, 10)) if threshold is None else ClipNorm(threshold)

    norms = np.random.default_rng(1).lognormal(0.0, 1.0, 120).tolist()
    whole, first, second = clipper(), clipper(), clipper()
    for norm in norms[:60]:
        for each in (whole, first):
            each(holding(vector(norm)), loss=torch.tensor(norm))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    for norm in norms[60:]:
        reports = [
            each(holding(vector(norm)), loss=torch.tensor(norm)).as_dict()
            for each in (whole, second)
        ]
        assert reports[0] == reports[1]


def test_a_step_of_zero_gradients_is_no_skip(holding: Holding) -> None:
    """Momentum and weight decay of Adam move on."""
    param = nn.Parameter(vector(1.0))
    optimizer = torch.optim.AdamW([param], 0.1, weight_decay=0.1)
    param.grad = vector(1.0)
    optimizer.step()
    kept = copy.deepcopy((param.detach(), optimizer.state_dict()))
    zeroed, dropped = copy.deepcopy(param), param
    other = torch.optim.AdamW([zeroed], 0.1, weight_decay=0.1)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    zeroed.grad = vector(0.0)
    other.step()
    assert not torch.equal(zeroed, kept[0])
    dropped.grad = vector(math.nan)
    ClipNorm(1.0)(dropped)
    optimizer.step()
    torch.testing.assert_close((dropped.detach(), optimizer.state_dict()), kept, rtol=0, atol=0)


def test_a_skipped_step_crashes_or_corrupts_under_a_scaler() -> None:
    """LVSM#19 crashes without `scaler.update()`; LibreYOLO#771: momentum of a fused SGD."""
    net = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    scaler, clipper = torch.amp.GradScaler("cpu", init_scale=8.0), ClipNorm(1.0)
    for factor in (math.inf, 1.0, math.nan, 1.0):
        optimizer.zero_grad()
        kept = net.weight.detach().clone()
        scaler.scale(net(torch.ones(1, 2)).sum() * factor).backward()
        scaler.unscale_(optimizer)
        clipper(net)
        scaler.step(optimizer)
        scaler.update()
        assert torch.equal(net.weight, kept) == (not math.isfinite(factor))
    assert net.weight.isfinite().all()
