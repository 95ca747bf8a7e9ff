"""Training utterances changed at random: tempo, length of the vocal tract, masks."""

from __future__ import annotations

import torch
from torch import Tensor
from torchaudio.transforms import SpecAugment

from apps.speech.batches import Batch


class Augment:
    """Changes the frames of a training batch, each utterance in its own way.

    tempo: largest relative change of the speed of speaking, pitch kept. vtlp: largest relative
    change of the mel scale, as another vocal tract length makes it (vocal tract length
    perturbation, Jaitly and Hinton 2013). num_time_masks, time_mask, num_band_masks, band_mask:
    numbers and largest widths, in single frames and in bands, of SpecAugment's masks of zeros
    (Park et al. 2019, arXiv:1904.08779). 0 leaves each of them out.
    """

    def __init__(
        self,
        num_time_masks: int = 2,
        time_mask: int = 24,
        num_band_masks: int = 2,
        band_mask: int = 6,
        tempo: float = 0.0,
        vtlp: float = 0.0,
    ) -> None:
        if min(num_time_masks, time_mask, num_band_masks, band_mask) < 0:
            raise ValueError("numbers and widths of masks must be >= 0")
        for name, value in (("tempo", tempo), ("vtlp", vtlp)):
            if not 0 <= value < 0.5:
                raise ValueError(f"{name}={value}: must be a share, >= 0 and < 0.5")
        self.tempo = tempo
        self.vtlp = vtlp
        self._mask = SpecAugment(
            num_time_masks, time_mask, num_band_masks, band_mask, zero_masking=True
        )

    def __call__(self, batch: Batch, num_bands: int) -> Batch:
        """The batch with its stacked frames (B, T, stack * num_bands) and their lengths changed.

        No utterance gets shorter than CTC needs for its outputs.
        """
        bands = batch.frames.reshape(len(batch.lengths), -1, num_bands).transpose(1, 2)
        width = batch.frames.shape[2]
        lengths = batch.lengths
        if self.tempo:
            lengths = (lengths / self._factors(self.tempo, bands)).round().long()
            lengths = lengths.maximum(batch.least_frames.minimum(batch.lengths))
        if self.tempo or self.vtlp:
            bands = self._warped(bands, batch.lengths, lengths, width // num_bands)
        frames = self._mask(bands).transpose(1, 2)
        return batch._replace(
            frames=frames.reshape(len(lengths), -1, width).contiguous(), lengths=lengths
        )

    def _warped(self, bands: Tensor, before: Tensor, after: Tensor, stack: int) -> Tensor:
        """Bands (B, F, T), interpolated, of utterances that had and get these stacked frames."""
        count, height, length = bands.shape
        times = torch.arange(stack * int(after.max()), device=bands.device)
        columns = times * (before / after)[:, None]
        rows = torch.arange(height, device=bands.device).expand(count, -1)
        if self.vtlp:
            rows = rows * self._factors(self.vtlp, bands)[:, None]
        shape = (count, height, len(times))
        # grid_sample counts from -1 to 1.
        x = (2 * columns / max(length - 1, 1) - 1)[:, None].expand(shape)
        y = (2 * rows / max(height - 1, 1) - 1)[:, :, None].expand(shape)
        warped = torch.nn.functional.grid_sample(
            bands[:, None], torch.stack([x, y], -1), padding_mode="border", align_corners=True
        )
        kept = times < stack * after[:, None]
        return warped[:, 0] * kept[:, None]

    @staticmethod
    def _factors(largest: float, bands: Tensor) -> Tensor:
        """Factors (B,), uniform in [1 - largest, 1 + largest]."""
        return 1 + largest * (2 * torch.rand(len(bands), device=bands.device) - 1)
