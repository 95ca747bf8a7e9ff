"""Changed training utterances: numpy's interpolation as the oracle, and what must not change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from apps.speech.alphabet import least_frames
from apps.speech.augment import Augment
from apps.speech.batches import Batch

BANDS, STACK = 5, 3
NO_MASKS = {"num_time_masks": 0, "num_band_masks": 0}
OUTPUTS = ([1, 2, 3, 1], [2, 2, 2], [3])


def make(lengths=(30, 20, 12)) -> Batch:
    frames = torch.randn(3, max(lengths), STACK * BANDS, generator=torch.Generator().manual_seed(0))
    kept = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    targets = torch.zeros(3, 4, dtype=torch.long)
    for row, outputs in zip(targets, OUTPUTS, strict=True):
        row[: len(outputs)] = torch.tensor(outputs)
    counts = torch.tensor([len(outputs) for outputs in OUTPUTS])
    return Batch(frames * kept[..., None], torch.tensor(lengths), targets, counts)


def bands_of(batch: Batch, number: int) -> np.ndarray:
    """Single frames (T, F) of an utterance."""
    stacked = batch.frames[number, : batch.lengths[number]]
    return stacked.reshape(-1, BANDS).numpy()


def test_ctc_needs_as_many_frames_as_the_alphabet_says():
    assert make().least_frames.tolist() == [least_frames(outputs) for outputs in OUTPUTS]


def test_masks_alone_are_zeros_that_differ_between_utterances():
    torch.manual_seed(0)
    batch = make()._replace(frames=torch.ones(3, 30, STACK * BANDS))
    masked = Augment(2, 10, 2, 3)(batch, BANDS)
    assert set(masked.frames.unique().tolist()) == {0.0, 1.0}
    assert len({tuple(one.flatten().tolist()) for one in masked.frames}) == 3
    assert masked.lengths.equal(batch.lengths)


def test_nothing_chosen_changes_nothing():
    batch = make()
    changed = Augment(**NO_MASKS)(batch, BANDS)
    assert changed.frames.equal(batch.frames)
    assert changed.lengths.equal(batch.lengths)


def test_tempo_interpolates_in_time():
    torch.manual_seed(3)
    batch = make()
    changed = Augment(**NO_MASKS, tempo=0.3)(batch, BANDS)
    assert not changed.lengths.equal(batch.lengths)
    assert changed.frames.shape[1] == changed.lengths.max()
    for number, (before, after) in enumerate(zip(batch.lengths, changed.lengths, strict=True)):
        assert abs(before / after - 1) < 0.31 + 1 / before
        mine, whole = bands_of(changed, number), bands_of(batch, number)
        # The last frames may be drawn from beyond the end, which is zeros.
        times = np.arange(len(mine)) * float(before / after)
        inside = times <= len(whole) - 1
        for band in range(BANDS):
            expected = np.interp(times, np.arange(len(whole)), whole[:, band])
            np.testing.assert_allclose(mine[inside, band], expected[inside], atol=1e-4)
        assert not changed.frames[number, after:].any()


def test_vtlp_scales_the_mel_axis_of_each_utterance():
    batch, augment = make(), Augment(**NO_MASKS, vtlp=0.2)
    # Where each band holds its own number, the second one then tells the factor.
    ramp = batch._replace(frames=torch.arange(BANDS).float().repeat(3, 30, STACK))
    torch.manual_seed(0)
    factors = augment(ramp, BANDS).frames[:, 0, 1].numpy()
    torch.manual_seed(0)
    changed = augment(batch, BANDS)
    assert changed.lengths.equal(batch.lengths)
    for number, factor in enumerate(factors):
        rows = np.arange(BANDS) * factor
        for mine, frame in zip(bands_of(changed, number), bands_of(batch, number), strict=True):
            expected = np.interp(rows, np.arange(BANDS), frame)
            np.testing.assert_allclose(mine, expected, atol=1e-4)
    assert len(set(factors.tolist())) == 3
    assert (abs(factors - 1) <= 0.2).all()


def test_no_utterance_gets_shorter_than_its_outputs_need():
    batch = make((4, 5, 1))
    for seed in range(20):
        torch.manual_seed(seed)
        changed = Augment(tempo=0.45)(batch, BANDS)
        assert (changed.lengths >= batch.least_frames).all()


@pytest.mark.parametrize("wrong", [{"time_mask": -1}, {"tempo": -0.1}, {"vtlp": 0.5}])
def test_values_without_meaning_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        Augment(**wrong)
