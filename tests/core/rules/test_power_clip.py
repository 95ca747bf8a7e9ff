"""PowerClip: the formula element by element, its limits, and what it leaves alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gradclip_core import ClipNorm, Ema, PowerClip

Holding = Callable[..., list[nn.Parameter]]
EPS = {torch.bfloat16: 1e-2, torch.float32: 1e-5, torch.float64: 1e-12}


def formula(g: np.ndarray, tau: float, least: float, p: float) -> np.ndarray:
    n = np.linalg.norm(g.ravel(), p)
    if n <= tau:
        return g
    power = np.sign(g) * np.abs(g) ** (least + (1 - least) * tau / n)
    left = np.linalg.norm(power.ravel(), p)
    return power * min(1.0, tau / left)


@given(
    seed=st.integers(0, 10_000),
    by=st.sampled_from(["parameter", "row"]),
    tau=st.sampled_from([1e-3, 0.5, 3.0, 100.0]),
    least=st.sampled_from([0.0, 0.7, 1.0]),
    scale=st.sampled_from([1e-3, 1.0, 300.0]),
    dtype=st.sampled_from(list(EPS)),
    p=st.sampled_from([1.0, 2.0, math.inf]),
)
@settings(max_examples=40, deadline=None)
def test_each_part_is_changed_by_the_formula(
    holding: Holding,
    seed: int,
    by: Any,
    tau: float,
    least: float,
    scale: float,
    dtype: torch.dtype,
    p: float,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    grad = (torch.randn(3, 4, generator=generator) * scale).to(dtype)
    grad[0, 0] = 0.0
    (param,) = holding(grad)
    report = PowerClip(tau, min_exponent=least, by=by, norm_type=p)([param])
    rows = grad.double().numpy() if by == "row" else grad.double().numpy().reshape(1, -1)
    wanted = np.stack([formula(row, tau, least, p) for row in rows])
    assert param.grad is not None
    # An element's a-th power has the relative error of the element, and that of its logarithm.
    left = param.grad.double().numpy().reshape(wanted.shape)
    np.testing.assert_allclose(left, wanted, rtol=3 * EPS[dtype], atol=1e-30)
    assert (report.clipped_norms <= report.norms.clamp(max=tau) * (1 + 1e-6)).all() or least < 1
    assert (report.clipped_norms <= tau * (1 + 1e-6)).all()


def test_with_the_power_one_it_is_clipping_by_norm(holding: Holding) -> None:
    grads = torch.tensor([[3.0, -4.0]]), torch.tensor([0.1])
    ours, theirs = holding(*grads), holding(*grads)
    PowerClip(1.0, min_exponent=1.0, by="parameter")(ours)
    ClipNorm(1.0, by="parameter", eps=0)(theirs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_complex_and_sparse_gradients_keep_sign_and_place(holding: Holding) -> None:
    (param,) = holding(torch.tensor([3.0j, -4.0 + 0j]))
    PowerClip(1.0, min_exponent=1.0)([param])
    torch.testing.assert_close(param.grad, torch.tensor([0.6j, -0.8 + 0j]))
    table = nn.Embedding(5, 2, sparse=True)
    table(torch.tensor([1, 3])).mul(torch.tensor([[9.0], [1.0]])).sum().backward()
    PowerClip(1.0)(table)
    assert table.weight.grad is not None
    left = table.weight.grad.to_dense()
    assert left.norm().item() == pytest.approx(1.0, rel=1e-6)
    assert torch.equal(left[[0, 2, 4]], torch.zeros(3, 2))


def test_what_is_not_finite_passes_as_it_does_in_clip_norm(holding: Holding) -> None:
    (param,) = holding(torch.tensor([1.0, math.inf, math.nan]))
    PowerClip(1.0, nonfinite="pass")([param])
    assert param.grad is not None
    assert param.grad.isnan().all()
    (param,) = holding(torch.tensor([1.0, -math.inf]))
    PowerClip(1.0, nonfinite="pass")([param])
    assert param.grad is not None
    assert param.grad[0] == 0
    assert param.grad[1].isnan()


def test_nothing_is_read_and_arguments_are_checked() -> None:
    net = nn.Linear(2, 2, device="meta")
    for param in net.parameters():
        param.grad = torch.ones_like(param)
    report = PowerClip(Ema(1.0), by="parameter", nonfinite="pass")(net)
    assert report.norms.device.type == "meta"
    with pytest.raises(ValueError, match=r"^min_exponent must be from 0 to 1, got 1.2$"):
        PowerClip(1.0, min_exponent=1.2)
