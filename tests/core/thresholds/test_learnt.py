"""What all thresholds that learn have in common."""

from __future__ import annotations

import copy
import io
import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradclip_core import (
    ClipNorm,
    ClippedEma,
    Ema,
    LogZScore,
    Median,
    Percentile,
    QuantileTracker,
    Scheduled,
    Threshold,
    TrailingNorm,
    WindowZScore,
    ZScore,
)
from gradclip_core.guards import Policy
from tests.core.thresholds.sequences import UNUSABLE, heavy_tailed, messy, parts_of, thresholds_of

Holding = Callable[..., list[nn.Parameter]]
Make = Callable[[], Threshold]

MAKE: dict[str, Make] = {
    "rolling quantile": lambda: Percentile(90.0, window=20),
    "ema": lambda: Ema(1.5, deviations=1.0),
    "clipped ema": lambda: ClippedEma(1.5),
    "zscore": lambda: ZScore(cap=None, warmup_steps=10, max_spikes=5),
    "zscore mean": lambda: ZScore(
        cap=None, warmup_steps=10, mode="mean", skip_update_on_spike=True
    ),
    "zscore percentile": lambda: ZScore(cap=None, warmup_steps=10, mode="percentile"),
    "log z": lambda: LogZScore(warmup_steps=10),
    "median": lambda: Median(2.0, window=30),
    "window z": lambda: WindowZScore(6.0, window=40, warmup_steps=20),
    "trailing": lambda: TrailingNorm(2.0, 0.9, warmup_steps=10, absolute=math.inf),
    "tracker": lambda: QuantileTracker(0.5),
    "scheduled": lambda: Scheduled(Ema(), warmup_steps=50, start=4.0),
}
every = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
STATISTICS = {name: make for name, make in MAKE.items() if name != "scheduled"}
# The tracker clips a share of constant norms by design.
STEADY = {name: make for name, make in MAKE.items() if name != "tracker"}
# One norm in ten over the percentile, or any in the window, moves these as published.
RESISTANT = {
    name: make for name, make in MAKE.items() if name not in ("rolling quantile", "window z")
}


def state_of(threshold: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(threshold.state_dict())


def assert_same_state(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("make", STATISTICS.values(), ids=STATISTICS)
@pytest.mark.parametrize("bad", UNUSABLE)
@pytest.mark.parametrize("steps", [1, 7, 60])
def test_an_unusable_norm_leaves_the_state_as_it_was(make: Make, bad: float, steps: int) -> None:
    threshold = make()
    thresholds_of(threshold, heavy_tailed(1, steps, parts=2))
    threshold(parts_of(bad, bad))  # a median holds back what it saw by one step
    before = state_of(threshold)
    for _ in range(3):
        threshold(parts_of(bad, bad))
    assert_same_state(before, state_of(threshold))


@every
@pytest.mark.parametrize("seed", range(2))
def test_state_and_thresholds_stay_numbers(make: Make, seed: int) -> None:
    threshold = make()
    rows = thresholds_of(threshold, messy(seed, parts=3))
    assert not np.isnan(rows).any()
    assert (rows > 0).all()
    assert np.isfinite(rows[60:]).all()
    assert all(value.isfinite().all() for value in threshold.state_dict().values())


@pytest.mark.parametrize("make", STATISTICS.values(), ids=STATISTICS)
def test_unusable_steps_change_nothing_for_the_steps_after_them(make: Make) -> None:
    clean = heavy_tailed(3, steps=150)
    rows = thresholds_of(make(), clean)
    dirty = np.insert(clean, [0, 0, 15, 80, 81], [[np.nan], [0], [np.inf], [0], [np.nan]], axis=0)
    kept = np.isfinite(dirty[:, 0]) & (dirty[:, 0] > 0)
    np.testing.assert_array_equal(thresholds_of(make(), dirty)[kept], rows)


@pytest.mark.parametrize("make", STATISTICS.values(), ids=STATISTICS)
def test_each_part_is_as_if_alone(make: Make) -> None:
    series = messy(4, steps=150, parts=3)
    together = thresholds_of(make(), series)
    alone = np.hstack([thresholds_of(make(), series[:, [i]]) for i in range(3)])
    np.testing.assert_allclose(together, alone, rtol=1e-12)


def through_a_file(threshold: Threshold, make: Make) -> Threshold:
    buffer = io.BytesIO()
    torch.save(threshold.state_dict(), buffer)
    buffer.seek(0)
    fresh = make()
    fresh.load_state_dict(torch.load(buffer, weights_only=True))
    return fresh


def into_a_used_one(threshold: Threshold, make: Make) -> Threshold:
    used = make()
    thresholds_of(used, heavy_tailed(99, steps=30, parts=2))
    used.load_state_dict(threshold.state_dict())
    return used


def through_pickle(threshold: Threshold, make: Make) -> Threshold:
    loaded = pickle.loads(pickle.dumps(threshold))
    assert isinstance(loaded, Threshold)
    return loaded


WAYS: dict[str, Callable[[Threshold, Make], Threshold]] = {
    "file": through_a_file,
    "used": into_a_used_one,
    "deepcopy": lambda threshold, make: copy.deepcopy(threshold),
    "pickle": through_pickle,
}


@every
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("stop", [1, 45])
def test_thresholds_resume_bit_for_bit(
    make: Make, way: Callable[[Threshold, Make], Threshold], stop: int
) -> None:
    series = messy(5, steps=70, parts=2)
    uninterrupted = make()
    whole = thresholds_of(uninterrupted, series)
    first = make()
    thresholds_of(first, series[:stop])
    resumed = way(first, make)
    thresholds_of(first, series[:20])  # what the first one does later must not matter
    np.testing.assert_array_equal(thresholds_of(resumed, series[stop:]), whole[stop:])
    assert_same_state(state_of(resumed), state_of(uninterrupted))


@every
@pytest.mark.parametrize("norm", [1e-300, 0.3, 1e300])
def test_the_first_norm_passes(make: Make, norm: float) -> None:
    tau = make()(parts_of(norm, 0.0))
    assert tau.expand(2)[0].item() >= norm


@pytest.mark.parametrize("make", STEADY.values(), ids=STEADY)
def test_constant_norms_pass_and_keep_a_finite_threshold(make: Make) -> None:
    norms = np.array([0.1, 1 / 3, 1e-9, 7e8])
    rows = thresholds_of(make(), np.tile(norms, (300, 1)))
    assert (rows >= norms * (1 - 1e-14)).all()
    assert (rows[60:] <= norms * 2.0001).all()


@pytest.mark.parametrize("make", RESISTANT.values(), ids=RESISTANT)
def test_one_huge_norm_hardly_moves_a_threshold(make: Make) -> None:
    series = np.random.default_rng(6).lognormal(0.0, 0.1, (160, 1))
    series[150] = 1e30
    rows = thresholds_of(make(), series)
    assert rows[150:].max() < 3 * rows[149, 0]


@every
def test_a_lasting_new_level_is_let_through_in_the_end(make: Make) -> None:
    series = np.random.default_rng(7).lognormal(0.0, 0.1, (500, 1))
    series[200:] *= 300
    rows = thresholds_of(make(), series)
    assert (rows[200:] >= series[200:])[-100:].mean() > 0.4


@every
@pytest.mark.parametrize("scale", [1e-180, 1e-9, 1e180])
def test_thresholds_scale_with_the_norms(make: Make, scale: float) -> None:
    series = heavy_tailed(8, steps=80, parts=2)
    scaled = thresholds_of(make(), series * scale)
    np.testing.assert_allclose(scaled, thresholds_of(make(), series) * scale, rtol=1e-8)


@every
def test_no_value_is_read_from_the_device(make: Make) -> None:
    # A tensor on "meta" has no values: reading one raises an error.
    threshold = make().to("meta")
    for _ in range(2):
        assert threshold(parts_of(1.0, 2.0, device="meta")).device.type == "meta"


@every
@pytest.mark.parametrize("policy", ["skip", "pass", pytest.param("zero", marks=pytest.mark.slow)])
@pytest.mark.parametrize("bad", [*UNUSABLE, 1e30])
def test_gradients_after_a_bad_step_are_finite_and_bounded(
    holding: Holding, make: Make, policy: Policy, bad: float
) -> None:
    clipper = ClipNorm(make(), by="parameter", nonfinite=policy)
    norms = np.random.default_rng(9).lognormal(0.0, 0.3, (50, 2))
    for step, row in enumerate(norms.tolist()):
        grads = [torch.full((4,), norm / 2) for norm in row]
        if step == 40:
            grads[0][1] = bad
        params = holding(*grads)
        report = clipper(params)
        if step > 40:
            for param, norm, tau in zip(params, row, report.thresholds.tolist(), strict=True):
                assert param.grad is not None
                assert 0 < param.grad.norm().item() <= min(norm, tau) * (1 + 1e-5)


@pytest.mark.parametrize("make", STATISTICS.values(), ids=STATISTICS)
def test_another_number_of_parts_is_refused(make: Make) -> None:
    threshold = make()
    threshold(parts_of(1.0, 2.0))
    with pytest.raises(ValueError, match="history of 2 parts and was given 1"):
        threshold(parts_of(1.0))


def test_settings_are_printed() -> None:
    assert repr(QuantileTracker()) == "QuantileTracker(quantile=0.5, rate=0.2, initial=None)"
    assert "factor=2.0, window=30" in repr(Median(2.0, 30))
    assert "warmup_steps=5, start=2.0" in repr(Scheduled(1.0, 5, 2))
