"""Acoustic models: frames (B, T, D) and lengths (B,) to scores (B, T, V) of the outputs.

All keep the number of frames (the front end has stacked them already), and an utterance's scores
do not depend on what it is padded with, but for the Conformer's (see there). Each is an encoder,
which knows nothing of CTC, under one linear layer: what a transducer would build upon.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torchaudio.models import Conformer

from apps.base.networks import RecurrentLayer, check_sizes

Cell = Literal["lstm", "gru"]


def within(lengths: Tensor, size: int) -> Tensor:
    """True (B, T) at the frames of a sequence, False at the padding after it."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


class AcousticModel(nn.Module, ABC):
    """An encoder of frames under a linear layer, `output`, that scores the outputs."""

    output: nn.Linear

    @abstractmethod
    def encode(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Frames (B, T, D) as hidden values (B, T, H), at the same frames."""

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Scores (B, T, V)."""
        scores: Tensor = self.output(self.encode(frames, lengths))
        return scores


class RecurrentCTC(AcousticModel):
    """(Bi)LSTM or (Bi)GRU layers with layer normalisation (Graves et al. 2013, arXiv:1303.5778).

    cell: lstm or gru. hidden_size: width of one direction. dropout: after each layer.
    """

    def __init__(
        self,
        num_inputs: int,
        num_stacked: int,
        num_outputs: int,
        cell: Cell = "lstm",
        hidden_size: int = 96,
        num_layers: int = 2,
        bidirectional: bool = True,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        check_sizes(hidden_size, num_layers, dropout)
        width = hidden_size * (1 + bidirectional)
        sizes = [num_inputs, *([width] * (num_layers - 1))]
        self.layers = nn.ModuleList(
            RecurrentLayer(cell, size, hidden_size, bidirectional) for size in sizes
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in sizes)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, num_outputs)

    def encode(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Hidden values (B, T, H) of both directions."""
        for layer, norm in zip(self.layers, self.norms, strict=True):
            frames = self.dropout(norm(layer(frames, lengths)))
        return frames


class ConvolutionalCTC(RecurrentCTC):
    """Convolutions over time and frequency, then GRU layers, after Deep Speech 2.

    Amodei et al. 2016, arXiv:1512.02595, with the stacked frames as channels and with layer in
    the place of batch normalisation. channels: of each convolution. kernel: its width in frames.
    """

    def __init__(
        self,
        num_inputs: int,
        num_stacked: int,
        num_outputs: int,
        channels: int = 32,
        num_convolutions: int = 2,
        kernel: int = 5,
        hidden_size: int = 96,
        num_layers: int = 2,
        dropout: float = 0.2,
    ) -> None:
        if min(channels, num_convolutions) < 1 or kernel < 1 or kernel % 2 == 0:
            raise ValueError(
                f"channels={channels}, num_convolutions={num_convolutions}, kernel={kernel}: must "
                "be >= 1, the kernel odd"
            )
        bands = num_inputs // num_stacked
        for _ in range(num_convolutions):
            bands = (bands + 1) // 2
        size = channels * bands
        super().__init__(
            size, num_stacked, num_outputs, "gru", hidden_size, num_layers, dropout=dropout
        )
        self.num_stacked = num_stacked
        sizes = [num_stacked, *([channels] * num_convolutions)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, (kernel, 5), stride=(1, 2), padding=(kernel // 2, 2))
            for a, b in itertools.pairwise(sizes)
        )
        self.norm = nn.LayerNorm(size)

    def encode(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Hidden values (B, T, H) of both directions."""
        kept = within(lengths, frames.shape[1])[:, None, :, None]
        maps = frames.reshape(*frames.shape[:2], self.num_stacked, -1).transpose(1, 2)
        for convolution in self.convolutions:
            # Padding is zeros for each, also what the one before made of it.
            maps = torch.nn.functional.relu(convolution(maps * kept))
        hidden = self.dropout(self.norm(maps.transpose(1, 2).flatten(2)))
        return super().encode(hidden, lengths)


class ConformerCTC(AcousticModel):
    """torchaudio's Conformer (Gulati et al. 2020, arXiv:2005.08100) under a linear layer.

    Its convolutions read up to half a kernel of padding at the end of the shorter utterances of
    a batch, so that their last scores depend on the padding a little. Batch normalisation, as in
    the paper. width: of the layers, a multiple of num_heads. kernel: odd, in frames.
    """

    def __init__(
        self,
        num_inputs: int,
        num_stacked: int,
        num_outputs: int,
        width: int = 96,
        num_heads: int = 4,
        num_layers: int = 4,
        kernel: int = 15,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_sizes(width, num_layers, dropout)
        if num_heads < 1 or width % num_heads or kernel < 1 or kernel % 2 == 0:
            raise ValueError(
                f"width={width}, num_heads={num_heads}, kernel={kernel}: the width must be a "
                "multiple of the heads, the kernel odd"
            )
        self.input = nn.Sequential(nn.Linear(num_inputs, width), nn.LayerNorm(width))
        self.conformer = Conformer(width, num_heads, 4 * width, num_layers, kernel, dropout)
        self.output = nn.Linear(width, num_outputs)

    def encode(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Hidden values (B, T, width)."""
        hidden: Tensor = self.conformer(self.input(frames), lengths)[0]
        return hidden
