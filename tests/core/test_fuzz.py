"""24,000 clips of gradients drawn at random, with the kernel and without, against float64."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from gradclip_core import ClipNorm, ClipValue
from gradclip_core.parts import native

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
BLOCKS, CLIPS = 12, 1_000  # for each of the two ways
ODD = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-45, 1e-40, 6e-8, 1e30, -1e30, 3e38]


@dataclass(frozen=True)
class Case:
    """One clip: the gradients as they lie in memory, and the rule."""

    grads: list[Tensor]
    by: str
    norm_type: float
    bound: float
    elements: bool


def draw(random: Random) -> Case:
    """A case of anything: shapes, strides, dtypes, sizes of numbers, odd numbers, rules."""
    one = random.choice(DTYPES)
    mixed = random.random() < 0.2
    scale = (
        10.0 ** random.uniform(-6, 6) if random.random() < 0.8 else 10.0 ** random.uniform(-42, 36)
    )
    odd = random.random() < 0.3
    grads = []
    for _ in range(random.randint(1, 4)):
        grad = _numbers(random, scale, odd).to(random.choice(DTYPES) if mixed else one)
        grads.append(_laid_out(random, grad))
    size = max(scale, 1e-44) * 10.0 ** random.uniform(-3, 3)
    by, norm_type = (
        random.choice(["model", "parameter", "row"]),
        random.choice([1.0, 2.0, math.inf, 3.0]),
    )
    elements = random.random() < 0.25
    return Case(grads, "model" if elements else by, norm_type, size, elements)


def _numbers(random: Random, scale: float, odd: bool) -> Tensor:
    generator = torch.Generator().manual_seed(random.getrandbits(40))
    dims = random.randint(0, 4)
    most = 9000 if dims == 1 and random.random() < 0.3 else 9
    shape = [random.randint(1, most) for _ in range(dims)]
    numbers = torch.randn(shape, dtype=torch.float64, generator=generator) * scale
    if odd:
        flat = numbers.view(-1)
        for _ in range(random.randint(1, 3)):
            flat[random.randrange(len(flat))] = random.choice(ODD)
    return numbers


def _laid_out(random: Random, grad: Tensor) -> Tensor:
    """The same numbers in another order in memory, or with gaps."""
    way = random.randrange(4)
    if way == 1 and grad.ndim >= 2:
        return grad.transpose(0, 1).contiguous().transpose(0, 1)
    if way == 2 and grad.ndim == 4:
        return grad.contiguous(memory_format=torch.channels_last)
    if way == 3:
        return torch.stack([grad, grad], -1)[..., 0]
    return grad.clone()


def norm(numbers: Tensor, order: float) -> float:
    """The p-norm in float64, where no power leaves its range."""
    peak = numbers.abs().max().item() if numbers.numel() else 0.0
    if not 0 < peak < math.inf:
        return 0.0 if peak == 0 else math.nan
    return peak * float(torch.linalg.vector_norm(numbers / peak, order))


def expected(case: Case) -> tuple[float, list[Tensor]]:
    """The norm of all and the clipped gradients, in float64."""
    wide = [grad.double() for grad in case.grads]
    whole = torch.cat([grad.flatten() for grad in wide])
    if case.elements:
        return norm(whole, math.inf), [grad.clamp(-case.bound, case.bound) for grad in wide]
    total = norm(whole, case.norm_type)
    if case.by == "model":
        return total, [grad * _factor(total, case.bound) for grad in wide]
    if case.by == "parameter":
        norms = [norm(grad, case.norm_type) for grad in wide]
        return total, [g * _factor(n, case.bound) for g, n in zip(wide, norms, strict=True)]
    clipped = []
    for grad in wide:
        rows = list(grad) if grad.ndim > 1 else [grad]
        scaled = [row * _factor(norm(row, case.norm_type), case.bound) for row in rows]
        clipped.append(torch.stack(scaled).view(grad.shape))
    return total, clipped


def _factor(size: float, bound: float) -> float:
    return bound / size if size > bound else 1.0


def check(case: Case) -> None:
    """Clip once and compare everything."""
    params = [torch.zeros_like(grad) for grad in case.grads]
    for param, grad in zip(params, case.grads, strict=True):
        param.grad = grad
    finite = all(bool(grad.isfinite().all()) for grad in case.grads)
    total, after = expected(case) if finite else (math.nan, [])
    by: Any = case.by
    if case.elements:
        report = ClipValue(case.bound)(params)
    else:
        report = ClipNorm(case.bound, by=by, norm_type=case.norm_type, eps=0.0)(params)
    assert bool(report.skipped) != finite
    if not finite:
        assert all(param.grad is None for param in params)
        return
    # Sums are short in float32 and longer in float64: errors below 1e-6, whatever their length.
    assert report.norm.item() == pytest.approx(total, rel=1e-6)
    for param, right in zip(params, after, strict=True):
        assert param.grad is not None
        info = torch.finfo(param.dtype)
        # The error of the factor, two roundings of a product, and below the normal numbers steps.
        near = {"rtol": 1e-6 + 2 * info.eps, "atol": 2 * info.smallest_normal * info.eps}
        torch.testing.assert_close(param.grad.double(), right, **near)


def run(seed: int, clips: int, way: str, patch: pytest.MonkeyPatch) -> None:
    """A number of clips; what fails tells its seed."""
    if way == "pytorch":
        patch.setattr(native, "library", lambda: None)
    elif not native.available():
        pytest.skip("needs a C compiler")
    for clip in range(clips):
        case = draw(Random(seed * CLIPS + clip))
        given = [grad.clone() for grad in case.grads]
        try:
            check(case)
        except Exception as error:
            shapes = [(g.dtype, tuple(g.shape), g.stride()) for g in case.grads]
            raise AssertionError(
                f"clip {seed * CLIPS + clip}: {case}, {shapes}, {given}"
            ) from error


@pytest.mark.parametrize("way", ["kernel", "pytorch"])
def test_some_clips_equal_float64(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run(BLOCKS, 150, way, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(BLOCKS))
@pytest.mark.parametrize("way", ["kernel", "pytorch"])
def test_clips_equal_float64(block: int, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run(block, CLIPS, way, monkeypatch)
