"""Utterances as batches of padded frames and the outputs to be found in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from apps.speech.alphabet import BLANK
from apps.speech.feature_store import FeatureStore
from apps.speech.features import FrontEnd


class Batch(NamedTuple):
    """Frames (B, T, D) and outputs (B, U), padded with zeros, and the lengths of both, (B,).

    Every tensor has the utterances first, so that a batch can be taken apart into them.
    """

    frames: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor

    @property
    def least_frames(self) -> Tensor:
        """Frames (B,) that CTC needs: one for each output, and one between equal neighbours."""
        last = torch.arange(1, self.targets.shape[1], device=self.targets.device)
        same = self.targets[:, 1:] == self.targets[:, :-1]
        repeats = same & (last < self.target_lengths[:, None])
        return self.target_lengths + repeats.sum(1)


class Utterances(Dataset[Batch]):
    """Utterances with their outputs, fetched a batch at a time by a list of numbers.

    rows: where each one's features lie in the store. lengths: their stacked frames.
    """

    def __init__(
        self,
        store: FeatureStore,
        front_end: FrontEnd,
        targets: Sequence[Sequence[int]],
        rows: Sequence[int],
    ) -> None:
        self.store = store
        self.front_end = front_end
        self.targets = targets
        self.rows = rows
        self.lengths = [front_end.num_frames(int(store.lengths[row])) for row in rows]

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.targets)

    def frames(self, number: int) -> Tensor:
        """The stacked frames (T, D) of one utterance."""
        return self.front_end.stacked(self.store[self.rows[number]])

    def __getitem__(self, numbers: list[int]) -> Batch:
        """The utterances of these numbers as one batch."""
        return as_batch(
            [self.frames(number) for number in numbers],
            [torch.tensor(self.targets[number]) for number in numbers],
        )


def as_batch(frames: Sequence[Tensor], targets: Sequence[Tensor]) -> Batch:
    """A batch of utterances: the frames (T, D) and outputs (U,) of each."""
    device = frames[0].device
    return Batch(
        pad_sequence(list(frames), batch_first=True),
        torch.tensor([len(one) for one in frames], device=device),
        pad_sequence(list(targets), batch_first=True, padding_value=BLANK),
        torch.tensor([len(one) for one in targets], device=device),
    )
