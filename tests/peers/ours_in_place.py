"""A plugin of pytest that puts our clipping in the place of a peer's, before its tests import it.

python -m pytest -p tests.peers.ours_in_place --peer optax .../_clipping_test.py
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradclip_core import ClipNorm, Clipper, ClipValue, Relative, functional

ByAxis = int | Sequence[int] | None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--peer", choices=sorted(PLACES), required=True)


def pytest_configure(config: pytest.Config) -> None:
    PLACES[config.getoption("--peer")]()


def in_torch() -> None:
    """`torch.nn.utils.clip_grad_norm_` and the like."""
    for name in ("clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"):
        setattr(nn.utils, name, getattr(functional, name))


def in_keras() -> None:
    """What an optimizer's `clipnorm`, `global_clipnorm` and `clipvalue` do."""
    from keras.src.optimizers.base_optimizer import BaseOptimizer

    def clip(self: Any, grads: list[Tensor]) -> list[Tensor]:
        if self.clipvalue:
            return functional.clip_gradients(grads, ClipValue(self.clipvalue))
        bound, by = (
            (self.clipnorm, "parameter") if self.clipnorm else (self.global_clipnorm, "model")
        )
        if not bound:
            return grads
        return functional.clip_gradients(grads, ClipNorm(bound, by=by, eps=0.0))

    BaseOptimizer._clip_gradients = clip


def in_lightning() -> None:
    """What `Trainer(gradient_clip_val=...)` does, in both packages."""
    from lightning.pytorch.plugins.precision import Precision

    def by_norm(self: Any, optimizer: Any, clip_val: float) -> None:
        ClipNorm(clip_val)(self.main_params(optimizer))

    def by_value(self: Any, optimizer: Any, clip_val: float) -> None:
        ClipValue(clip_val)(self.main_params(optimizer))

    Precision.clip_grad_by_norm, Precision.clip_grad_by_value = by_norm, by_value


def in_optax() -> None:
    """The transformations of `optax.transforms` that clip gradients."""
    from optax.transforms import _clipping

    def by_axis(clipping: float, eps: float = 1e-3, axis: ByAxis = None) -> Any:
        rule = ClipNorm(Relative(clipping, eps=eps), by="row", eps=0.0)
        return _transformation(lambda: rule, lambda array: _units_first(array, axis))

    places: dict[str, Any] = {
        "clip": lambda bound: _transformation(lambda: ClipValue(bound)),
        "clip_by_global_norm": lambda bound: _transformation(lambda: ClipNorm(bound, eps=0.0)),
        "clip_by_block_rms": lambda bound: _transformation(
            lambda: ClipNorm(bound, by="parameter", measure="rms", eps=0.0)
        ),
        "adaptive_grad_clip": by_axis,
    }
    for name, place in places.items():
        setattr(_clipping, name, place)


def _transformation(
    make: Callable[[], Clipper],
    arranged: Callable[[np.ndarray], tuple[np.ndarray, Any]] = lambda array: (array, None),
) -> Any:
    """A transformation of Optax that clips by a rule of ours."""
    import jax
    from optax import EmptyState, GradientTransformation

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        grads, structure = jax.tree.flatten(updates)
        weights = grads if params is None else jax.tree.leaves(params)
        held, back = [], []
        for grad, weight in zip(grads, weights, strict=True):
            values, undo = arranged(np.array(grad))
            param = nn.Parameter(torch.from_numpy(arranged(np.array(weight))[0].copy()))
            param.grad = torch.from_numpy(values.copy())
            held.append(param)
            back.append(undo)
        make()(held)
        arrays = [param.grad.numpy() for param in held]
        clipped = [undo(a) if undo else a for a, undo in zip(arrays, back, strict=True)]
        return jax.tree.unflatten(structure, [jax.numpy.asarray(a) for a in clipped]), state

    return GradientTransformation(lambda params: EmptyState(), update)


def _units_first(array: np.ndarray, axis: ByAxis) -> tuple[np.ndarray, Any]:
    """An array with a row for each of Optax's units, whose norms it takes over `axis`.

    By default those are the columns of a matrix, the last axis of a kernel of four dimensions, and
    the whole of anything else.
    """
    if axis is None:
        axis = {2: (0,), 4: (0, 1, 2)}.get(array.ndim, tuple(range(array.ndim)))
    along = (axis,) if isinstance(axis, int) else tuple(axis)
    kept = [i for i in range(array.ndim) if i not in {a % array.ndim for a in along}]
    moved = np.moveaxis(array, kept, range(len(kept)))
    rows = moved.reshape(int(np.prod(moved.shape[: len(kept)])), -1)
    return rows, lambda values: np.moveaxis(values.reshape(moved.shape), range(len(kept)), kept)


PLACES: dict[str, Callable[[], None]] = {
    "torch": in_torch,
    "keras": in_keras,
    "lightning": in_lightning,
    "optax": in_optax,
}
