"""Clipping in Keras 3 on the PyTorch backend, in `model.fit` and everywhere else.

model.compile(optimizer=clipped_keras(keras.optimizers.Adam(), ClipNorm(1.0)), loss="mse")
"""

from __future__ import annotations

from typing import Any

import keras
from torch import Tensor

from gradclip_core.checks import check_instance
from gradclip_core.clipper import Clipper

_OWN = ("clipnorm", "global_clipnorm", "clipvalue")


def clipped_keras(optimizer: Any, clipper: Clipper) -> Any:
    """Let a Keras optimizer clip with any clipper of gradients; returns the optimizer itself.

    Examples:
        >>> import keras, torch
        >>> from gradclip_core import ClipNorm
        >>> from gradclip_core.keras import clipped_keras
        >>> optimizer = clipped_keras(keras.optimizers.Adam(1e-3), ClipNorm(1.0))

    Args:
        optimizer: one of Keras 3 on the backend "torch"; of a `LossScaleOptimizer` the inner one.
        clipper: sees the gradients after accumulation and without the loss scale, under the paths
            of the variables ("dense/kernel"); its `last_report` says what it did. Its state is no
            part of a saved Keras model: save `clipper.state_dict()` beside it.

    A step that the clipper skips changes neither weights nor the optimizer's state, and counts as
    an iteration. Raises ValueError for another backend, an optimizer that clips already, and a
    clipper that works inside a torch optimizer's step or on samples; TypeError for what is none.
    """
    check_instance("clipper", clipper, Clipper)
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise TypeError(f"optimizer must be one of Keras, got {type(optimizer).__name__}")
    if keras.backend.backend() != "torch":
        raise ValueError(f"clipping takes the Keras backend torch, got {keras.backend.backend()}")
    if clipper.acts_in_step or clipper.needs_samples:
        raise ValueError(f"{type(clipper).__name__} needs a torch optimizer or samples: not Keras")
    _Clipping(getattr(optimizer, "inner_optimizer", optimizer), clipper)
    return optimizer


class _Clipping:
    """Stands in for four methods of one optimizer, of which `_clip_gradients` is the second."""

    def __init__(self, optimizer: Any, clipper: Clipper) -> None:
        own = [name for name in _OWN if getattr(optimizer, name)]
        if own or "_clip_gradients" in vars(optimizer):
            what = f"{own[0]}={getattr(optimizer, own[0])}" if own else "another clipper"
            raise ValueError(f"{optimizer.name} clips already, by {what}: two would clip twice")
        self._clipper = clipper
        self._variables: list[Any] = []
        self._skips = False
        self._apply = optimizer._backend_apply_gradients
        self._decay = optimizer._apply_weight_decay
        self._update = optimizer._backend_update_step
        optimizer._backend_apply_gradients = self.apply
        optimizer._clip_gradients = self.clip
        optimizer._apply_weight_decay = self.decay
        optimizer._backend_update_step = self.update

    def apply(self, grads: list[Tensor], variables: list[Any]) -> None:
        """Remember whose gradients come next."""
        self._variables = list(variables)
        self._apply(grads, variables)

    def clip(self, grads: list[Tensor]) -> list[Tensor]:
        """Clip gradients that lie in no `.grad`, or in one that was averaged since."""
        params = [variable.value for variable in self._variables]
        before = [param.grad for param in params]
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad.to(param.dtype)
        named = [(v.path, param) for v, param in zip(self._variables, params, strict=True)]
        self._clipper(named)
        clipped = [param.grad for param in params]
        for param, grad in zip(params, before, strict=True):
            param.grad = grad
        self._skips = all(grad is None for grad in clipped)
        return grads if self._skips else clipped

    def decay(self, variables: list[Any]) -> None:
        """Weight decay, but in a step that is skipped."""
        if not self._skips:
            self._decay(variables)

    def update(self, grads: list[Tensor], variables: list[Any], learning_rate: Any) -> None:
        """The step, but one that is skipped."""
        if not self._skips:
            self._update(grads, variables, learning_rate)
