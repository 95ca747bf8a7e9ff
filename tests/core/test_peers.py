"""Peers: the same gradients as Optax and Keras for the strategies that they have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gradclip_core import ClipNorm, ClipValue

Holding = Callable[..., list[nn.Parameter]]

shapes = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=3), min_size=1, max_size=4)
examples = settings(max_examples=6, deadline=None, derandomize=True)
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
