"""What went wrong elsewhere: each defect of another implementation, as a test of ours.

Where the other one is installed the test shows the defect first. Defects of AMP, accumulation
and several optimizers stand in `test_lightning*.py`, those of SPAM in the tests of SPAM.
"""

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
    ByName,
    ClipNorm,
    ClipValue,
    Ema,
    LogZScore,
    Median,
    NoClip,
    NonFiniteGradientError,
    Percentile,
    QuantileTracker,
    Relative,
    SkipOnSpike,
    Threshold,
    TrailingNorm,
    WindowZScore,
    ZScore,
    chain,
)

Holding = Callable[..., list[nn.Parameter]]


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values)


# torch.nn.utils


@pytest.mark.parametrize("bound", [-1.0, 0.0])
def test_a_negative_bound_reverses_gradients_in_torch(holding: Holding, bound: float) -> None:
    """pytorch#31367; Lightning takes it for "off"."""
    (theirs,) = holding(vector(3.0, 4.0))
    nn.utils.clip_grad_norm_(theirs, bound)
    assert (theirs.grad <= 0).all()
    with pytest.raises(ValueError, match=r"^max_norm must be a number > 0"):
        ClipNorm(bound)


def test_a_parameter_listed_twice_is_counted_and_scaled_twice_in_torch(holding: Holding) -> None:
    """Also Megatron's and NO_SHARD's shared parameters (pytorch#88955)."""
    (ours,), (theirs,) = holding(vector(3.0, 4.0)), holding(vector(3.0, 4.0))
    assert nn.utils.clip_grad_norm_([theirs, theirs], 1.0).item() > 7
    assert theirs.grad.norm() < 0.1
    report = ClipNorm(1.0, eps=0)([ours, ours])
    assert (report.norm.item(), ours.grad.norm().item()) == (5.0, pytest.approx(1.0))


def test_one_infinite_element_makes_nan_in_torch(holding: Holding) -> None:
    """pytorch#46849, DeepSpeed#5242, habitat-lab#2226: silently, and weights with it."""
    (ours,), (theirs,) = holding(vector(1.0, math.inf)), holding(vector(1.0, math.inf))
    nn.utils.clip_grad_norm_(theirs, 1.0)
    assert theirs.grad.isnan().any()
    assert ClipNorm(1.0)(ours).skipped.item() is True
    assert ours.grad is None


def test_the_error_of_torch_names_no_tensor() -> None:
    """pytorch#55169."""
    net = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    net(torch.ones(1)).backward()
    net[1].bias.grad.fill_(math.nan)
    with pytest.raises(RuntimeError) as theirs:
        nn.utils.clip_grad_norm_(net.parameters(), 1.0, error_if_nonfinite=True)
    assert "bias" not in str(theirs.value)
    with pytest.raises(NonFiniteGradientError, match=r"1\.bias \(1 NaN, 0 inf\)"):
        ClipNorm(1.0, nonfinite="raise")(net)


def test_sparse_gradients_are_not_implemented_in_torch() -> None:
    embedding = nn.Embedding(3, 2, sparse=True)
    (9 * embedding(torch.tensor([1, 1]))).sum().backward()
    with pytest.raises(NotImplementedError):
        nn.utils.clip_grad_norm_(embedding.parameters(), 1.0)
    ClipNorm(1.0, eps=0)(embedding)
    assert embedding.weight.grad.to_dense().norm().item() == pytest.approx(1.0)


def test_a_norm_that_passes_half_precision_clears_the_gradient_in_torch(holding: Holding) -> None:
    (ours,), (theirs,) = (holding(torch.full((100,), 9486.8).half()) for _ in range(2))
    nn.utils.clip_grad_norm_(theirs, 1.0)
    assert theirs.grad.abs().max() == 0
    ClipNorm(1.0)(ours)
    assert ours.grad.float().norm().item() == pytest.approx(1.0, rel=1e-3)


def test_gradients_below_the_bound_are_written_all_the_same_in_torch(holding: Holding) -> None:
    """transformers#41431."""
    (ours,), (theirs,) = holding(vector(0.1)), holding(vector(0.1))
    versions = ours.grad._version, theirs.grad._version
    ClipNorm(1.0)(ours)
    nn.utils.clip_grad_norm_(theirs, 1.0)
    assert ours.grad._version == versions[0]
    assert theirs.grad._version > versions[1]


def test_a_gradient_of_exactly_the_bound_is_shrunk_in_torch(holding: Holding) -> None:
    (ours,), (theirs,) = holding(vector(3.0, 4.0)), holding(vector(3.0, 4.0))
    nn.utils.clip_grad_norm_(theirs, 5.0)
    ClipNorm(5.0)(ours)
    assert theirs.grad.norm() < 5
    assert ours.grad.tolist() == [3.0, 4.0]


def test_clipping_to_infinity_to_log_the_norm_corrupts_weights(holding: Holding) -> None:
    """Skovorp/feral#16: inf / inf."""
    (ours,), (theirs,) = holding(vector(1.0, math.inf)), holding(vector(1.0, math.inf))
    nn.utils.clip_grad_norm_(theirs, math.inf)
    assert theirs.grad.isnan().any()
    assert NoClip()(ours).norm.item() == math.inf
    assert ours.grad.tolist() == [1.0, math.inf]


# The norm in the log: LlamaFactory#3996, verl#2282, torchtitan#1500, DeepSpeed#7220, trl#3312


def test_only_the_norm_before_clipping_is_known_elsewhere(holding: Holding) -> None:
    """And how often it engages: flood-forecasting#298; timm's AGC returns nothing."""
    clipper = ClipNorm(1.0, eps=0)
    reports = [clipper(holding(vector(norm))) for norm in (4.0, 0.5)]
    assert [r.norm.item() for r in reports] == [4.0, 0.5]
    assert [r.clipped_norm.item() for r in reports] == [1.0, 0.5]
    assert [r.coefficient.item() for r in reports] == [0.25, 1.0]
    assert reports[-1].clip_rate.item() == 0.5


# Optax, Keras, Composer, timm, SpeechBrain, marin


def test_zero_over_zero_is_nan_in_optax(holding: Holding) -> None:
    """optax#1752."""
    for clipper in (ClipNorm(1e-30, eps=0), ClipNorm(1.0, response="normalize"), ClipValue(1e-30)):
        (param,) = holding(torch.zeros(2))
        clipper(param)
        assert param.grad.tolist() == [0.0, 0.0]


def test_after_enough_bad_steps_optax_lets_them_in(holding: Holding) -> None:
    """optax.apply_if_finite accepts NaN after `max_consecutive_errors`; ours stops."""
    optax = pytest.importorskip("optax", reason="optax is not installed")
    wrapped = optax.apply_if_finite(optax.identity(), 2)
    grads = [np.array([np.nan], dtype=np.float32)]
    state = wrapped.init(grads)
    for _ in range(3):
        updates, state = wrapped.update(grads, state)
    assert np.isnan(np.asarray(updates[0])).all()
    clipper = ClipNorm(1.0, patience=3)
    for _ in range(2):
        assert clipper(holding(vector(math.nan))).skipped.item() is True
    with pytest.raises(NonFiniteGradientError, match="gave up after 3"):
        clipper(holding(vector(math.nan)))


def test_keras_refuses_to_clip_by_value_and_by_norm(holding: Holding) -> None:
    """keras#17278."""
    (param,) = holding(vector(3.0, 9.0))
    chain(ClipValue(4.0), ClipNorm(2.5, eps=0))(param)
    assert param.grad.tolist() == pytest.approx([1.5, 2.0])


def test_agc_without_a_floor_freezes_what_starts_at_zero(holding: Holding) -> None:
    """Composer."""
    (param,) = holding(vector(3.0, 4.0))
    assert param.abs().max() == 0
    ClipNorm(Relative(0.01), by="row", eps=0)(param)
    assert param.grad.norm().item() == pytest.approx(1e-5)


def test_by_value_is_by_infinity_norm_in_composer_under_fsdp(holding: Holding) -> None:
    (param,) = holding(vector(0.5, 2.0))
    ClipValue(1.0)(param)
    assert param.grad.tolist() == [0.5, 1.0], "clamped, not scaled to [0.25, 1]"


@pytest.mark.parametrize("measure", ["norm", "rms"])
def test_an_inverted_clip_enlarges_small_gradients(holding: Holding, measure: Any) -> None:
    """`clamp_(max=1)` of the divisor, in timm's and pytorch_optimizer's Adafactor."""
    (param,) = holding(vector(0.01, 0.02))
    ClipNorm(1.0, measure=measure)(param)
    assert param.grad.tolist() == vector(0.01, 0.02).tolist()


def test_only_the_first_group_is_clipped_in_speechbrain(holding: Holding) -> None:
    """And each group by itself in marin#6160."""
    first, second = holding(vector(3.0), vector(4.0))
    ClipNorm(1.0, eps=0)(torch.optim.SGD([{"params": [first]}, {"params": [second]}], 1.0))
    assert [first.grad.item(), second.grad.item()] == pytest.approx([0.6, 0.8])


def test_one_bound_for_all_parameters_in_lightning() -> None:
    """Lightning#4767."""
    net = nn.ModuleDict({"body": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    for param in net.parameters():
        param.grad = torch.full_like(param, 9.0)
    ByName({"head": ClipNorm(0.1, eps=0)}, otherwise=ClipNorm(2.0, eps=0))(net)
    flat = [torch.cat([p.grad.flatten() for p in layer.parameters()]) for layer in net.values()]
    assert [grad.norm().item() for grad in flat] == pytest.approx([2.0, 0.1])


def test_a_clip_of_a_copy_does_nothing() -> None:
    """`grad[mask].mul_()` in pytorch_optimizer's SPAM; here views of any layout are written."""
    whole = torch.full((4, 6), 9.0)
    param = nn.Parameter(torch.zeros(6, 2))
    param.grad = whole.t()[:, ::2]
    ClipNorm(1.0, eps=0)(param)
    assert whole[::2].norm().item() == pytest.approx(1.0)
    assert (whole[1::2] == 9).all()


# Thresholds that learn: one bad norm must neither poison nor freeze them

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


# Skipping


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
