"""How far from the norm in float64 is the norm that a clip uses?"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from benchmarks.contenders import ours
from gradclip_core import ClipNorm

SIZES = (100_000, 1_000_000, 10_000_000, 50_000_000)


def accuracy_rows() -> list[tuple[str, list[float]]]:
    """Name, and the relative error for one normal float32 gradient of each size."""
    errors: dict[str, list[float]] = {}
    for size in SIZES:
        for name, error in _errors(size):
            errors.setdefault(name, []).append(error)
    return list(errors.items())


def _errors(size: int) -> Iterator[tuple[str, float]]:
    param = nn.Parameter(torch.zeros(size))
    param.grad = torch.randn(size, generator=torch.Generator().manual_seed(0))
    exact = param.grad.double().norm().item()
    found = nn.utils.clip_grad_norm_([param], 1e9).item()
    yield "`clip_grad_norm_`", abs(found / exact - 1)
    for name, clip in ours(lambda: ClipNorm(1e9)).items():
        report: object = clip([param])
        yield name, abs(report.norm.item() / exact - 1)  # type: ignore[attr-defined]
