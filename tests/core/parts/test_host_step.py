"""A fast step of the whole equals the full one; a clip that does not bind writes nothing."""

from __future__ import annotations

import copy
import ctypes
import math
import mmap
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from gradclip_core import (
    Band,
    ClipNorm,
    ClippedEma,
    Clipper,
    ClipValue,
    Ema,
    Fixed,
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
from gradclip_core.parts import native
from gradclip_core.parts.gradients import Gradients

pytestmark = pytest.mark.usefixtures("either_way")
Holding = Callable[..., list[nn.Parameter]]


class FullNorm(ClipNorm):
    """The same rule by the full step."""

    def fast_step(self, gradients: Gradients) -> None:
        return None


class FullValue(ClipValue):
    """The same rule by the full step."""

    def fast_step(self, gradients: Gradients) -> None:
        return None


def band() -> Band:
    return Band(Scheduled(0.9, decay_steps=9, end=0.3), 0.5, min_factor=0.2, max_factor=3.0)


THRESHOLDS: dict[str, Callable[[], Threshold]] = {
    "fixed": lambda: Fixed(3.0),
    "percentile": lambda: Percentile(30.0, window=7),
    "median": lambda: Median(1.1, window=5),
    "ema": lambda: Ema(1.1, deviations=0.5),
    "clipped ema": lambda: ClippedEma(1.1),
    "scheduled clipped ema": lambda: Scheduled(ClippedEma(1.1), warmup_steps=4, start=1.5),
    "log z-score": lambda: LogZScore(1.0, warmup_steps=3),
    "z-score": lambda: ZScore(1.0, warmup_steps=3, max_spikes=3, cap=None),
    "z-score without spikes": lambda: ZScore(
        1.0, warmup_steps=2, skip_update_on_spike=True, cap=4.0
    ),
    "mean of z-score": lambda: ZScore(1.0, warmup_steps=3, mode="mean", cap=None),
    "quantile": lambda: QuantileTracker(0.5),
    "window": lambda: WindowZScore(1.0, window=6, warmup_steps=3),
    "trailing": lambda: TrailingNorm(warmup_steps=5, absolute=2.0),
    "scheduled": lambda: Scheduled(Ema(1.1), warmup_steps=4, start=0.3, decay_steps=9, end=0.5),
    "linear": lambda: Scheduled(2.0, decay_steps=9, end=0.5, shape="linear"),
}
RULES: dict[str, tuple[Callable[..., Clipper], Callable[..., Clipper]]] = {
    "norm": (ClipNorm, FullNorm),
    "norm 1": (
        lambda t, **kw: ClipNorm(t, norm_type=1, **kw),
        lambda t, **kw: FullNorm(t, norm_type=1, **kw),
    ),
    "norm 3": (
        lambda t, **kw: ClipNorm(t, norm_type=3, **kw),
        lambda t, **kw: FullNorm(t, norm_type=3, **kw),
    ),
    "norm inf": (
        lambda t, **kw: ClipNorm(t, norm_type=math.inf, **kw),
        lambda t, **kw: FullNorm(t, norm_type=math.inf, **kw),
    ),
    "value": (ClipValue, FullValue),
}


def gradients(step: int) -> list[Tensor | None]:
    """Of steps that grow, vanish and are not finite now and then; one is missing."""
    generator = torch.Generator().manual_seed(step)
    scale = 0.0 if step % 7 == 3 else 1.5 ** (step % 5)
    found = [torch.randn(s, generator=generator) * scale for s in ((3, 4), (5,), (50, 60))]
    if step % 6 == 5:
        found[1][2] = (math.nan, math.inf)[step % 4 == 1]
    return [found[0], None, found[1], found[2]]


def assert_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        if isinstance(value, float):
            assert value == pytest.approx(theirs[name], rel=1e-6, nan_ok=True), name
        else:
            assert value == theirs[name], name


@pytest.mark.parametrize(
    "policy", ["skip", *(pytest.param(p, marks=pytest.mark.slow) for p in ("pass", "zero"))]
)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", THRESHOLDS)
def test_the_fast_step_gives_what_the_full_one_gives(kind: str, rule: str, policy: str) -> None:
    check_twins([make(THRESHOLDS[kind](), nonfinite=policy) for make in RULES[rule]])


@pytest.mark.parametrize("kind", ["fixed", "ema", "scheduled clipped ema"])
def test_so_it_does_with_a_band(kind: str) -> None:
    check_twins([make(THRESHOLDS[kind](), band=band()) for make in (ClipNorm, FullNorm)])


def check_twins(clippers: list[Clipper]) -> None:
    """Both do the same with the same gradients, also from the state of the other."""
    for step in range(24):
        if step == 12:
            states = copy.deepcopy([clipper.state_dict() for clipper in clippers])
            for clipper, state in zip(clippers, reversed(states), strict=True):
                clipper.load_state_dict(state)
        left = []
        reports = []
        for clipper in clippers:
            params = [nn.Parameter(torch.zeros(s)) for s in ((3, 4), (2,), (5,), (50, 60))]
            for param, grad in zip(params, gradients(step), strict=True):
                param.grad = None if grad is None else grad.clone()
            reports.append(clipper(params))
            left.append([p.grad for p in params])
        assert_same(*(report.as_dict() for report in reports))
        torch.testing.assert_close(
            reports[0].parameter_norms, reports[1].parameter_norms, equal_nan=True
        )
        for ours, theirs in zip(*left, strict=True):
            assert (ours is None) == (theirs is None)
            if ours is not None:
                torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0, equal_nan=True)
    ours, theirs = (clipper.state_dict() for clipper in clippers)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm_type", [1.0, 2.0, math.inf])
@pytest.mark.parametrize("size", [4096, 131_072, 5_000_000])
@pytest.mark.parametrize("value", [0.1, 0.3, 1e-12])
def test_equal_elements_are_measured_to_six_digits(
    holding: Holding, norm_type: float, size: int, value: float
) -> None:
    (param,) = holding(torch.full((size,), value))
    each = param.grad[0].double().item()
    expected = each if math.isinf(norm_type) else each * size ** (1 / norm_type)
    report = ClipNorm(1e9, norm_type=norm_type)(param)
    assert report.norm.item() == pytest.approx(expected, rel=1e-6)


CLIPPERS: dict[str, Callable[[], Clipper]] = {
    "norm": lambda: ClipNorm(1e9),
    "norm inf": lambda: ClipNorm(1e9, norm_type=math.inf),
    "value": lambda: ClipValue(1e9),
    "norm of parameters": lambda: ClipNorm(1e9, by="parameter"),
    "norm of rows": lambda: ClipNorm(1e9, by="row"),
    "full": lambda: FullNorm(1e9),
}


@pytest.mark.parametrize("kind", CLIPPERS)
def test_a_clip_that_does_not_bind_writes_no_gradient(kind: str) -> None:
    libc, size = ctypes.CDLL(None, use_errno=True), 1 << 20
    memory = mmap.mmap(-1, size)
    grad = torch.frombuffer(memory, dtype=torch.float32)
    grad.normal_(generator=torch.Generator().manual_seed(0))
    param = nn.Parameter(torch.zeros(512, 512))
    param.grad = grad.view(512, 512)
    # From here on a write would end the process.
    address = ctypes.c_void_p(grad.data_ptr())
    assert libc.mprotect(address, ctypes.c_size_t(size), mmap.PROT_READ) == 0
    try:
        report = CLIPPERS[kind]()(param)
    finally:
        libc.mprotect(address, ctypes.c_size_t(size), mmap.PROT_READ | mmap.PROT_WRITE)
    assert report.norm.item() > 0
    assert not report.clipped.item()


def written(clipper: Clipper, params: list[nn.Parameter]) -> list[str]:
    """The operations in place that the profiler sees on tensors of the gradients' shapes."""
    shapes = {tuple(param.shape) for param in params}
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as trace:
        clipper(params)
    return [
        event.name
        for event in trace.events()
        if event.name.endswith("_") and shapes & set(map(tuple, event.input_shapes[:1]))
    ]


@pytest.mark.parametrize("kind", CLIPPERS)
@pytest.mark.filterwarnings("ignore")
def test_the_profiler_sees_no_write_of_a_clip_that_does_not_bind(
    holding: Holding, kind: str
) -> None:
    params = holding(*(torch.ones(shape) for shape in ((64, 64), (300, 300), (7,), (5, 3))))
    assert written(CLIPPERS[kind](), params) == []
    if not native.available():
        assert written(ClipNorm(1e-3), params) != []
