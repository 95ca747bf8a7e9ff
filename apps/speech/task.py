"""Training an acoustic model with connectionist temporal classification."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from apps.base.task import Optimization, Task
from apps.speech.alphabet import BLANK
from apps.speech.augment import Augment
from apps.speech.batches import Batch, as_batch


class CTCTask(Task):
    """Minimises the CTC loss (Graves et al. 2006), per output of an utterance, then on average.

    The reduction decides how large gradients are: a loss summed over a batch has norms 10 to
    1,000 times these. augment: changes training batches.
    """

    def __init__(
        self,
        net: nn.Module,
        optimization: Optimization,
        num_bands: int,
        augment: Augment | None = None,
    ) -> None:
        super().__init__(net, optimization)
        self.num_bands = num_bands
        self._augment = augment

    def loss(self, batch: Batch) -> Tensor:
        """The loss of a batch, 0-d."""
        if self.training and self._augment is not None:
            batch = self._augment(batch, self.num_bands)
        scores = self.net(batch.frames, batch.lengths).log_softmax(-1)
        return nn.functional.ctc_loss(
            scores.transpose(0, 1),
            batch.targets,
            batch.lengths,
            batch.target_lengths,
            blank=BLANK,
            zero_infinity=True,
        )

    @property
    def faults(self) -> tuple[str, ...]:
        """Recordings may be far too loud, transcripts mixed up, utterances joined."""
        return ("outliers", "label_noise", "long_sequences")

    def outlying(self, batch: Batch, scale: float) -> Batch:
        """The batch with features `scale` times as large."""
        return batch._replace(frames=scale * batch.frames)

    def relabelled(self, batch: Batch, order: Tensor) -> Batch:
        """The batch with the transcripts in another order."""
        return batch._replace(
            targets=batch.targets[order], target_lengths=batch.target_lengths[order]
        )

    def joined(self, batch: Batch, groups: Sequence[Tensor]) -> Batch:
        """The batch with each group's utterances one after the other, and their transcripts."""
        return as_batch(
            [
                torch.cat([batch.frames[i, : batch.lengths[i]] for i in group.tolist()])
                for group in groups
            ],
            [
                torch.cat([batch.targets[i, : batch.target_lengths[i]] for i in group.tolist()])
                for group in groups
            ],
        )

    def batch_size(self, batch: Batch) -> int:
        """Number of utterances in a batch."""
        return len(batch.lengths)

    @torch.no_grad()
    def log_probabilities(self, frames: Tensor) -> Tensor:
        """Log-probabilities (T, V), on the CPU, of one utterance's frames (T, D)."""
        self.eval()
        lengths = torch.tensor([len(frames)], device=self.device)
        scores: Tensor = self.net(frames[None].to(self.device), lengths)
        return scores[0].float().log_softmax(-1).cpu()
