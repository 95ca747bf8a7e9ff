"""Clipping inside a Lightning Trainer, of the package `lightning` or `pytorch_lightning`."""

from gradclip_core.lightning.callback import GradientClipping, OnReport
from gradclip_core.lightning.refusals import refuse_strategy

__all__ = ["GradientClipping", "OnReport", "refuse_strategy"]
