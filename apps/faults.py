"""Gradients that go wrong on purpose, to see what a strategy makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import lightning.pytorch as pl


class GradientFaults(pl.Callback):
    """Multiplies all gradients by a number at every `every`-th step, by the next one in turn.

    scales: `nan` and `inf` break the gradient, 0 empties it, 1e30 makes it an outlier. The
        clipper sees what comes out. Raises ValueError for no scales or an `every` below 1.
    """

    def __init__(self, scales: Sequence[float], every: int = 2) -> None:
        if not scales:
            raise ValueError("scales must hold at least one number, got none")
        if every < 1:
            raise ValueError(f"every must be an integer >= 1, got {every!r}")
        self.scales = [float(scale) for scale in scales]
        self.every = every

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Multiply the gradients of a step whose turn it is."""
        turn, rest = divmod(trainer.fit_loop.epoch_loop.total_batch_idx + 1, self.every)
        if rest:
            return
        for param in pl_module.parameters():
            if param.grad is not None:
                param.grad.mul_(self.scales[(turn - 1) % len(self.scales)])
