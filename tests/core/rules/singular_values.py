"""Clipping by singular values as a decomposition in float64 has it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from gradclip_core import ClipNorm


def decomposed(grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    wide = grad.to(torch.complex128 if grad.is_complex() else torch.float64)
    matrix = wide.reshape(len(grad) if grad.ndim > 1 else 1, -1)
    return tuple(torch.linalg.svd(matrix, full_matrices=False))


def largest(grad: Tensor) -> float:
    return decomposed(grad)[1][0].item()


def expected(grad: Tensor, bound: float, response: str) -> Tensor:
    left, values, right = decomposed(grad)
    factors = {
        "clamp": (bound / values).clamp(max=1.0),
        "soft_clamp": (1 + (values / bound) ** 2) ** -0.5,
        "hard": (bound / values[0]).clamp(max=1.0).expand(len(values)),
    }[response]
    kept = torch.where(values == 0, values, values * factors)
    return ((left * kept) @ right).reshape(grad.shape)


def clip(grad: Tensor, bound: Any, response: Any = "clamp", **settings: Any) -> tuple[Tensor, Any]:
    weight = nn.Parameter(torch.zeros_like(grad))
    weight.grad = grad.clone()
    settings = {"by": "parameter", "eps": 0.0} | settings
    clipper = ClipNorm(bound, measure="spectral", response=response, **settings)
    report = clipper([("layer.weight", weight)])
    assert weight.grad is not None
    return weight.grad, report


def of_rank(shape: tuple[int, ...], rank: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows = shape[0] if len(shape) > 1 else 1
    columns = math.prod(shape) // rows
    left = torch.randn(rows, rank, generator=generator, dtype=torch.float64)
    right = torch.randn(rank, columns, generator=generator, dtype=torch.float64)
    return (left @ right).reshape(shape)
