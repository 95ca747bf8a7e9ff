"""Thresholds: Percentile equals NumPy, resumes bit for bit and never sees an unusable norm."""

from __future__ import annotations

import copy
import io
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

from gradclip_core import ClipNorm, Clipper, Fixed, Percentile, Threshold
from gradclip_core.parts.norms import Parts
from tests.core.thresholds.sequences import parts_of

Holding = Callable[..., list[nn.Parameter]]
QS = [0.0, 7.0, 10.0, 33.3, 50.0, 99.0, 100.0]


def norms_with_ties(seed: int, steps: int, parts: int = 1) -> np.ndarray:
    """Heavy-tailed norms; one decimal makes many of them equal."""
    random = np.random.default_rng(seed)
    return np.maximum(random.lognormal(0.0, 1.5, size=(steps, parts)).round(1), 0.1)


@given(
    seed=st.integers(0, 999),
    q=st.one_of(st.sampled_from(QS), st.floats(1, 100)),
    window=st.sampled_from([1, 2, 7, 50, 1000]),
)
@settings(max_examples=15)
def test_percentile_equals_numpy_over_the_window(seed: int, q: float, window: int) -> None:
    threshold = Percentile(q, window)
    series = norms_with_ties(seed, steps=320)
    for step, row in enumerate(series, start=1):
        expected = np.percentile(series[max(0, step - window) : step], q)
        assert threshold(parts_of(*row)).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("q", QS)
def test_every_part_has_its_own_percentile(q: float) -> None:
    threshold = Percentile(q, window=20)
    series = norms_with_ties(3, steps=50, parts=3)
    for step, row in enumerate(series, start=1):
        expected = np.percentile(series[max(0, step - 20) : step], q, axis=0)
        np.testing.assert_allclose(threshold(parts_of(*row)).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("q", QS)
@pytest.mark.parametrize("window", [1, 9, 400])
def test_the_path_for_accelerators_agrees_with_the_path_for_cpu(q: float, window: int) -> None:
    threshold = Percentile(q, window)
    for row in norms_with_ties(5, steps=300, parts=2):
        on_cpu = threshold(parts_of(*row))
        torch.testing.assert_close(threshold._on_device(), on_cpu, rtol=1e-14, atol=0)


def test_a_long_history_needs_a_position_in_double_precision() -> None:
    threshold = Percentile(33.3, window=10_001)
    threshold.history = torch.arange(1.0, 10_002.0, dtype=torch.float64).unsqueeze(0) ** 2
    threshold.count = torch.tensor([10_001])
    expected = np.percentile(threshold.history.numpy(), 33.3)
    assert threshold._on_device().item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0])
def test_unusable_norms_leave_the_history_as_it_was(bad: float) -> None:
    threshold = Percentile(50.0, window=4)
    for norm in (1.0, 2.0, 3.0, 4.0, 5.0):
        threshold(parts_of(norm, norm))
    before = copy.deepcopy(threshold.state_dict())
    assert threshold(parts_of(bad, bad)).tolist() == [3.5, 3.5]
    assert all(torch.equal(before[key], value) for key, value in threshold.state_dict().items())


def test_a_part_takes_in_its_norm_where_another_part_has_none() -> None:
    threshold = Percentile(100.0)
    threshold(parts_of(1.0, 0.0))
    assert threshold(parts_of(2.0, math.nan)).tolist() == [2.0, math.inf]
    assert threshold.count.tolist() == [2, 0]
    assert threshold._on_device().tolist() == [2.0, math.inf]


def test_another_number_of_parts_is_refused() -> None:
    threshold = Percentile()
    threshold(parts_of(1.0, 2.0))
    with pytest.raises(ValueError, match="history of 2 parts and was given 1"):
        threshold(parts_of(1.0))


def through_a_file(clipper: Clipper) -> Clipper:
    buffer = io.BytesIO()
    torch.save(clipper.state_dict(), buffer)
    buffer.seek(0)
    fresh = autoclip()
    fresh.load_state_dict(torch.load(buffer, weights_only=True))
    return fresh


def into_a_used_one(clipper: Clipper) -> Clipper:
    used = autoclip()
    for norm in (9.0, 8.0, 7.0):
        used([grad_of(norm), grad_of(1.0)])
    used.load_state_dict(clipper.state_dict())
    return used


def through_pickle(clipper: Clipper) -> Clipper:
    loaded = pickle.loads(pickle.dumps(clipper))
    assert isinstance(loaded, Clipper)
    return loaded


RESUMES: dict[str, Callable[[Clipper], Clipper]] = {
    "state_dict in a file": through_a_file,
    "state_dict into a used clipper": into_a_used_one,
    "deepcopy": copy.deepcopy,
    "pickle": through_pickle,
}


def autoclip() -> ClipNorm:
    return ClipNorm(Percentile(30.0, window=6), by="parameter")


def grad_of(norm: float) -> Tensor:
    param = nn.Parameter(torch.zeros(4))
    param.grad = torch.full((4,), norm / 2)
    return param


def clip_all(clipper: Clipper, series: np.ndarray) -> list[tuple[list[float], list[float], float]]:
    rows = []
    for row in series:
        params = [grad_of(norm) for norm in row.tolist()]
        report = clipper(params)
        clipped = [param.grad[0].item() for param in params if param.grad is not None]
        rows.append((report.thresholds.tolist(), clipped, report.clip_rate.item()))
    return rows


@pytest.mark.parametrize("way", RESUMES)
@pytest.mark.parametrize("stop", [1, 4, 17])
def test_clipping_resumes_bit_for_bit(way: str, stop: int) -> None:
    series = norms_with_ties(7, steps=40, parts=2)
    whole = clip_all(autoclip(), series)
    interrupted = autoclip()
    clip_all(interrupted, series[:stop])
    resumed = RESUMES[way](interrupted)
    clip_all(interrupted, series[::-1])  # what the first one does later must not matter
    assert clip_all(resumed, series[stop:]) == whole[stop:]


def test_a_state_of_another_window_is_refused() -> None:
    short, long = Percentile(window=5), Percentile(window=9)
    short(parts_of(1.0))
    with pytest.raises(RuntimeError, match="size mismatch for history"):
        long.load_state_dict(short.state_dict())


class Ema(Threshold):
    """Twice the running mean: a user's threshold in a few lines."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(0))

    def forward(self, parts: Parts) -> Tensor:
        if not len(self.mean):
            self.mean = parts.norms.clone()
        self.mean = torch.where(parts.usable, self.mean.lerp(parts.norms, 0.1), self.mean)
        return 2 * self.mean


def test_a_threshold_of_ones_own_clips_and_resumes(holding: Holding) -> None:
    clipper = ClipNorm(Ema(), by="parameter")
    clipper(holding(torch.ones(1), torch.ones(1)))
    resumed = ClipNorm(Ema(), by="parameter")
    resumed.load_state_dict(clipper.state_dict())
    first, second = holding(torch.tensor([100.0]), torch.ones(1))
    report = resumed([first, second])
    assert report.thresholds.tolist() == pytest.approx([2 * 10.9, 2.0])
    assert first.grad.item() == pytest.approx(21.8)
    assert second.grad.item() == 1.0


def test_fixed_is_constant_and_has_no_state() -> None:
    threshold = Fixed(3)
    assert threshold(parts_of(1.0, 99.0)).item() == 3.0
    assert not threshold.state_dict()


def test_a_threshold_without_a_rule_says_so() -> None:
    with pytest.raises(TypeError, match="Threshold must implement forward"):
        Threshold()(parts_of(1.0))


def test_settings_are_printed() -> None:
    assert repr(Percentile(12.5, 100)) == "Percentile(q=12.5, window=100)"
    assert repr(Fixed(2)) == "Fixed(2.0)"


class Given(Threshold):
    """A user's own, which returns what it is given."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def forward(self, parts: Parts) -> Tensor:
        return self.value


@pytest.mark.parametrize("by", ["model", "parameter"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, r"^Given.forward must return a tensor, .* got None$"),
        (1.0, r"^Given.forward must return a tensor, .* got 1.0$"),
        (torch.ones(7), r"^Given.forward must return one threshold or .*, got .7,.$"),
        (torch.tensor(torch.nan), r"^Given.forward must return thresholds > 0, got nan$"),
        (torch.tensor(-1.0), r"^Given.forward must return thresholds > 0, got -1.0$"),
    ],
)
def test_what_is_no_threshold_changes_no_gradient(value: Any, message: str, by: Any) -> None:
    net = nn.Linear(3, 2)
    net(torch.ones(1, 3)).sum().backward()
    with pytest.raises((TypeError, ValueError), match=message):
        ClipNorm(Given(value), by=by)(net)
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in net.parameters())
