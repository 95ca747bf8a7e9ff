"""Training a network to predict the next character."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn

from apps.base.task import Task
from apps.language.alphabet import END, PADDING

Batch: TypeAlias = tuple[Tensor, Tensor, Tensor]  # inputs and targets (B, L), weight ()


class LanguageTask(Task):
    """Minimises the cross-entropy of the next character, in nats per character."""

    def loss(self, batch: Batch) -> Tensor:
        """The mean over the characters of a batch, 0-d; its gradient has the batch's weight."""
        inputs, targets, weight = batch
        scores = self.net(inputs).flatten(0, 1)
        loss = nn.functional.cross_entropy(scores, targets.flatten(), ignore_index=PADDING)
        return loss.detach() + weight * (loss - loss.detach())

    def batch_size(self, batch: Batch) -> int:
        """Number of characters that are predicted."""
        return int((batch[1] != PADDING).sum())

    @property
    def faults(self) -> tuple[str, ...]:
        """Texts may be garbage; there are no labels but themselves."""
        return ("outliers",)

    def outlying(self, batch: Batch, scale: float) -> Batch:
        """Random characters, and a gradient `scale` times as large.

        As many as before, drawn by what the batch held, so that every strategy meets the same.
        """
        inputs, targets, weight = batch
        drawn = torch.Generator().manual_seed(int(inputs.sum()))
        most = max(int(inputs.max()), END + 1)
        noise = torch.randint(END + 1, most + 1, inputs.shape, generator=drawn).to(inputs)
        before = torch.cat([inputs[:, :1], noise[:, :-1]], dim=1)
        return (
            before.where(inputs != PADDING, PADDING),
            noise.where(targets != PADDING, PADDING),
            scale * weight,
        )

    @torch.no_grad()
    def surprise(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The nats of each target (B, L), 0 for padding; float64, on the CPU."""
        scores = self.net(inputs.to(self.device)).double().cpu().flatten(0, 1)
        nats = nn.functional.cross_entropy(
            scores, targets.flatten(), ignore_index=PADDING, reduction="none"
        )
        return nats.view_as(targets)
