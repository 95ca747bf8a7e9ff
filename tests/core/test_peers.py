"""Peers: the same gradients as Optax and Keras for the strategies that they have."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gradclip_core import ClipNorm, ClipValue, TrailingNorm

Holding = Callable[..., list[nn.Parameter]]

shapes = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=3), min_size=1, max_size=4)
examples = settings(max_examples=6)
case = given(
    seed=st.integers(0, 10_000),
    shape_list=shapes,
    scale=st.sampled_from([0.1, 1.0, 50.0]),
    bound=st.floats(1e-2, 100.0),
)


def random_grads(seed: int, shape_list: list[list[int]], scale: float) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) * scale for shape in shape_list]


def assert_equal(params: list[nn.Parameter], expected: list[np.ndarray]) -> None:
    for param, grad in zip(params, expected, strict=True):
        np.testing.assert_allclose(param.grad.numpy(), grad, rtol=1e-5, atol=0)


def with_optax(transform: Any, grads: list[Tensor]) -> list[np.ndarray]:
    arrays = [grad.numpy() for grad in grads]
    updates, _ = transform.update(arrays, transform.init(arrays))
    return [np.asarray(update) for update in updates]


def with_keras(grads: list[Tensor], **setting: float) -> list[np.ndarray]:
    keras = pytest.importorskip("keras", reason="keras is not installed")
    if keras.backend.backend() != "torch":
        pytest.skip("keras was imported with another backend")
    optimizer = keras.optimizers.SGD(**setting)
    return [grad.numpy() for grad in optimizer._clip_gradients([g.clone() for g in grads])]


@case
@examples
def test_clip_norm_equals_optax_clip_by_global_norm(
    holding: Holding, seed: int, shape_list: list[list[int]], scale: float, bound: float
) -> None:
    optax = pytest.importorskip("optax", reason="optax is not installed")
    grads = random_grads(seed, shape_list, scale)
    params = holding(*grads)
    ClipNorm(bound, eps=0)(params)
    assert_equal(params, with_optax(optax.clip_by_global_norm(bound), grads))


@case
@examples
def test_clip_value_equals_optax_clip(
    holding: Holding, seed: int, shape_list: list[list[int]], scale: float, bound: float
) -> None:
    optax = pytest.importorskip("optax", reason="optax is not installed")
    grads = random_grads(seed, shape_list, scale)
    params = holding(*grads)
    ClipValue(bound)(params)
    assert_equal(params, with_optax(optax.clip(bound), grads))


@case
@examples
def test_clip_norm_equals_keras_global_clipnorm(
    holding: Holding, seed: int, shape_list: list[list[int]], scale: float, bound: float
) -> None:
    grads = random_grads(seed, shape_list, scale)
    params = holding(*grads)
    ClipNorm(bound, eps=0)(params)
    assert_equal(params, with_keras(grads, global_clipnorm=bound))


@case
@examples
def test_clip_norm_by_parameter_equals_keras_clipnorm(
    holding: Holding, seed: int, shape_list: list[list[int]], scale: float, bound: float
) -> None:
    grads = random_grads(seed, shape_list, scale)
    params = holding(*grads)
    ClipNorm(bound, by="parameter", eps=0)(params)
    assert_equal(params, with_keras(grads, clipnorm=bound))


@case
@examples
def test_clip_value_equals_keras_clipvalue(
    holding: Holding, seed: int, shape_list: list[list[int]], scale: float, bound: float
) -> None:
    grads = random_grads(seed, shape_list, scale)
    params = holding(*grads)
    ClipValue(bound)(params)
    assert_equal(params, with_keras(grads, clipvalue=bound))


def test_adam_under_adagc_is_adagc() -> None:
    """The preset with the source's floor, from the end of the warm-up on and before it."""
    peer = pytest.importorskip("pytorch_optimizer", reason="pytorch_optimizer is not installed")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2)).double()
    twin = copy.deepcopy(net)
    ours = torch.optim.AdamW(net.parameters(), 0.01, weight_decay=0.1)
    theirs = peer.AdaGC(twin.parameters(), 0.01, weight_decay=0.1, warmup_steps=51)
    clipper = ClipNorm(TrailingNorm(warmup_steps=50, floor=0.0), by="parameter", eps=0)
    generator = torch.Generator().manual_seed(1)
    for step in range(320):
        for a, b in zip(net.parameters(), twin.parameters(), strict=True):
            size = 100.0 if step % 23 == 22 else 1.0
            a.grad = torch.randn(a.shape, generator=generator, dtype=torch.float64) * size
            b.grad = a.grad.clone()
        report = clipper(net)
        ours.step()
        theirs.step()
    # It adds 1e-8 to the global norm in the warm-up, and ours does not.
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)
    assert 0 < report.clip_rate.item() <= 1
