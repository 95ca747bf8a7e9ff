"""What went wrong elsewhere: each defect of another implementation, as a test of ours.

Where the other one is installed the test shows the defect first. Defects of AMP, accumulation
and several optimizers stand in `test_lightning*.py`, those of SPAM in the tests of SPAM.
"""

from __future__ import annotations

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
    NoClip,
    NonFiniteGradientError,
    Relative,
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


# Skipping
