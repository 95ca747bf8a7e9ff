"""Clipping as functions: PyTorch's own by name and meaning, and gradients outside `.grad`."""

from gradclip_core.functional.gradients import clip_gradients
from gradclip_core.functional.like_torch import (
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    get_total_norm,
)

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_gradients",
    "clip_grads_with_norm_",
    "get_total_norm",
]
